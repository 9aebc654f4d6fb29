/** The options and the progress of backups. */

/** The progress of a backup. */
export interface BackupProgress {
  readonly totalPages: number
  /** 0 when all pages are copied. */
  readonly remainingPages: number
}

/** The options of one backup. */
export interface BackupOptions {
  /** Pages to copy in one step. Fewer pages: an interrupt takes effect sooner. More pages: faster. Default 1000, floor 1. */
  readonly pagesPerStep?: number | undefined
}
