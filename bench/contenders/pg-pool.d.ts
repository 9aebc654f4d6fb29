/** The part of pg-pool that is used here. Its published types would need those of the whole driver. */
declare module "pg-pool" {
  export default class Pool<Client> {
    constructor(options: {
      readonly Client: new() => Client
      readonly min: number
      readonly max: number
      readonly connectionTimeoutMillis?: number
    })
    connect(): Promise<Client>
    end(): Promise<void>
  }
}
