/** The script of a thread. It is not counted by the coverage of tests, so everything else is in `serve.ts`. */
import { parentPort, workerData } from "node:worker_threads"
import { serve, type ThreadData } from "./serve.ts"

serve(parentPort!, workerData as ThreadData)
