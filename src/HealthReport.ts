export type HealthStatus = "healthy" | "degraded" | "unhealthy"
