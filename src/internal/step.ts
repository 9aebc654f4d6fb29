export { Step, withFiber, within } from "./runtime.ts"
