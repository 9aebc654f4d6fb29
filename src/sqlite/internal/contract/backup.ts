/** Backups: their options, and how far they are. */

/** How far a backup is. */
export interface BackupProgress {
  readonly totalPages: number
  /** 0 when all pages are copied. */
  readonly remainingPages: number
}

/** The options of one backup. */
export interface BackupOptions {
  /** Pages that are copied in one step. Fewer let it be interrupted sooner; more are faster. Default 1000, floor 1. */
  readonly pagesPerStep?: number | undefined
}
