/** As much of pg-pool as is used here: its published types would bring those of the whole driver. */
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
