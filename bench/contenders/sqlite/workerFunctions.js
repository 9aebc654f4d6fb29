/** SQL functions for the threads of this library. It is JavaScript, because threads that strip types hold more memory. */
export const functions = {
  /** The bytes of the heap of this thread. */
  heap_used: () => process.memoryUsage().heapUsed,
  /** Ends the thread in the middle of a statement. */
  crash: () => process.exit(3)
}
