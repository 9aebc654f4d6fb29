/** The SQL functions of the other module, without its aggregates. */
export { functions } from "./sqlFunctions.ts"
