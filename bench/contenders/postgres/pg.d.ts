/** The part of node-postgres that is used here. */
declare module "pg" {
  interface Query {
    /** The name under which a connection keeps it prepared. Without one, it is not prepared. */
    readonly name?: string | undefined
    readonly text: string
    readonly values?: ReadonlyArray<unknown>
  }
  interface Client {
    query(query: Query): Promise<{ readonly rows: ReadonlyArray<unknown> }>
    release(error?: unknown): void
  }
  export class Pool {
    constructor(options: {
      readonly host: string
      readonly port: number
      readonly user: string
      readonly database: string
      readonly min: number
      readonly max: number
      readonly idleTimeoutMillis: number
    })
    connect(): Promise<Client>
    query(query: Query): Promise<{ readonly rows: ReadonlyArray<unknown> }>
    end(): Promise<void>
    /** Without a listener, the loss of an idle connection ends the process. */
    on(event: "error", listener: () => void): void
  }
}
