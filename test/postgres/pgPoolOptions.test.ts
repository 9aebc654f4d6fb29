import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Redacted, Result } from "effect"
import { PgPool } from "effect-connection-pool/postgres"
import { PoolAssert } from "effect-connection-pool/testing"
import { inspect } from "node:util"
import * as Options from "../../src/postgres/internal/options/pool.ts"
import * as Url from "../../src/postgres/internal/options/url.ts"
import { certificate, clientCertificate, clientKey, key, lockedKey, passphrase } from "../support/tls.ts"

const resolved = (options: PgPool.Options) => Result.getOrThrow(Options.resolve(options))

const mustBeHost = "one host without its port, such as \"db.internal\" or \"::1\", or the folder of a socket"

const problemsOf = (options: object) =>
  Result.match(Options.resolve(options), {
    onFailure: ({ problems }) => problems.map(({ message }) => message),
    onSuccess: () => []
  })

describe("the options of a PostgreSQL pool", () => {
  it("say where the database is", () => {
    const { client, connection } = resolved({
      host: "db",
      port: 5433,
      database: "app",
      username: "ada",
      password: "secret"
    })
    assert.deepStrictEqual(connection.address, { host: "db", port: 5433, path: undefined })
    assert.deepStrictEqual([client.database, client.username, client.ssl], ["app", "ada", false])
    assert.strictEqual(Redacted.value(client.password as Redacted.Redacted), "secret")
    assert.strictEqual(resolved({ host: "/run/postgresql" }).connection.address.path, "/run/postgresql/.s.PGSQL.5432")
    const { client: standard } = resolved({ username: "ada" })
    assert.deepStrictEqual([standard.host, standard.port, standard.database], ["localhost", 5432, "ada"])
  })

  it("may be a URL, behind which each option stands for itself", () => {
    const url = "postgres://ada:p%40ss@[::1]:6000/app?sslmode=require&application_name=jobs"
    const { client, connection } = resolved({ url, port: 6001, database: "other" })
    assert.deepStrictEqual(connection.address, { host: "::1", port: 6001, path: undefined })
    assert.deepStrictEqual([client.username, client.database, client.ssl, client.applicationName], [
      "ada",
      "other",
      true,
      "jobs"
    ])
    assert.strictEqual(Redacted.value(client.password as Redacted.Redacted), "p@ss")
    assert.strictEqual(resolved({ url, ssl: false }).client.ssl, false)
    assert.deepStrictEqual(Url.read("postgresql:///?host=/run&port=1&user=a&password=b&dbname=c&sslmode=disable"), {
      host: "/run",
      port: 1,
      username: "a",
      password: "b",
      database: "c",
      ssl: false
    })
  })

  it("say which hosts there are, and how their replicas are read", () => {
    assert.isUndefined(resolved({ host: "db" }).hosts)
    const { hosts } = resolved({ hosts: ["db1", "db2:5433", "[::1]:1", "/run"], port: 6000, replicas: { max: 3 } })
    assert.deepStrictEqual(hosts?.addresses, [
      { host: "db1", port: 6000, path: undefined },
      { host: "db2", port: 5433, path: undefined },
      { host: "::1", port: 1, path: undefined },
      { host: "/run", port: 6000, path: "/run/.s.PGSQL.6000" }
    ])
    assert.deepStrictEqual(hosts?.replicas, { min: 0, max: 3 })
    assert.deepStrictEqual([hosts?.mayFallBack, hosts?.maxLagMillis, hosts?.intervalMillis], [true, 4500, 500])
    assert.isUndefined(resolved({ hosts: ["db1"] }).hosts?.replicas)
    assert.deepStrictEqual(resolved({ host: "db", replicas: {} }).hosts?.addresses, [
      { host: "db", port: 5432, path: undefined }
    ])
    assert.deepStrictEqual(
      problemsOf({ hosts: ["db1:0", "a b", "db3:70000"], replicas: { max: 0, maxLags: 1 } }),
      [
        "hosts[0] is \"db1:0\", but must be a host with or without its port, such as \"db1\", \"db1:5433\" or \"[::1]\"",
        "hosts[1] is \"a b\", but must be a host with or without its port, such as \"db1\", \"db1:5433\" or \"[::1]\"",
        "hosts[2] is \"db3:70000\", but must be a host with or without its port, such as \"db1\", \"db1:5433\" or \"[::1]\"",
        "replicas.maxLags is no option; did you mean maxLag?",
        "replicas.max is 0, but must be a whole number of at least 1"
      ]
    )
    assert.deepStrictEqual(problemsOf({ hosts: [] }), ["hosts is an array, but must be a list of at least one host"])
    assert.deepStrictEqual(problemsOf({ hosts: ["a"], host: "b" }), [
      "hosts is an array, but must be left out, or host: one of the two"
    ])
    assert.deepStrictEqual(problemsOf({ replicas: { min: 9 } }), ["replicas.min is 9, but must be at most 8 (max)"])
    assert.match(
      String(problemsOf({ replicas: {}, pooler: "transaction" })),
      /must be left out with pooler "transaction"/
    )
  })

  it.effect("of several hosts come from the environment", () =>
    Effect.gen(function*() {
      const env = { DB_HOSTS: "db1, db2:5433", DB_REPLICAS_MAX: "3", DB_REPLICAS_MAX_LAG: "2 seconds" }
      const config = yield* PgPool.config("DB").parse(ConfigProvider.fromEnv({ env }))
      assert.deepStrictEqual(config, { hosts: ["db1", "db2:5433"], replicas: { max: 3, maxLag: 2000 } })
      for (const wrong of ["db1,", "a b", "db1:0"]) {
        const error = yield* Effect.flip(
          PgPool.config("DB").parse(ConfigProvider.fromEnv({ env: { DB_HOSTS: wrong } }))
        )
        assert.include(error.message, `DB_HOSTS is "${wrong}", but must be hosts such as db1,db2:5433`)
      }
      const env2 = {
        DB_MAX: "0",
        DB_HOSTS: "a b",
        DB_REPLICAS_MAX: "0",
        DB_SHARED_READS: "2",
        DB_SHARED_READS_MAX: "9"
      }
      const all = yield* Effect.flip(PgPool.config("DB").parse(ConfigProvider.fromEnv({ env: env2 })))
      assert.deepStrictEqual(all.message.replace(/^SchemaError\(|\)$/g, "").split("\n"), [
        "DB_MAX is 0, but must be a whole number of at least 1",
        "DB_HOSTS is \"a b\", but must be hosts such as db1,db2:5433",
        "DB_REPLICAS_MAX is 0, but must be a whole number of at least 1",
        "DB_SHARED_READS is \"2\", but must be true or false",
        "DB_SHARED_READS_MAX is 9, but must be a whole number from 1 to 8"
      ])
      const none = yield* PgPool.config("DB").parse(ConfigProvider.fromEnv({ env: { DB_HOST: "db" } }))
      assert.deepStrictEqual(none, { host: "db" })
    }))

  it("may be a URL without a host, as other clients have it", () => {
    const found = { username: "ada", database: "app", host: "/run" }
    assert.deepStrictEqual(Url.read("postgres://ada@/app?host=/run"), found)
    assert.deepStrictEqual(Url.read("postgres://ada@:5433/app?host=/run"), { ...found, port: 5433 })
    assert.deepStrictEqual(Url.read("postgres://:5433/app"), { port: 5433, database: "app" })
    assert.deepStrictEqual(Url.read("postgres://ada:1@"), { username: "ada", password: "1" })
    assert.deepStrictEqual(Url.read("postgres://:1@db"), { host: "db", password: "1" })
    assert.strictEqual(Url.read("postgres://db:0/app"), "a URL whose port is from 1 to 65535")
  })

  it("are refused where the server would refuse them, or take them for others", () => {
    const mustBe = "text that is not empty and has no zero character"
    for (const field of ["name", "host", "database", "username", "applicationName"]) {
      const must = field === "host" ? mustBeHost : mustBe
      assert.deepStrictEqual(problemsOf({ [field]: "a\0b" }), [`${field} is "a\\u0000b", but must be ${must}`])
      assert.include(problemsOf({ [field]: "\ud800" })[0]!, must)
    }
    for (const password of ["a\0b", "\ud800", Redacted.make("a\0b")]) {
      assert.deepStrictEqual(problemsOf({ password }), [
        "password is not shown here, but must be text without a zero character"
      ])
    }
    // The server ends the connection without a word, which looks like a network that fails.
    for (const huge of [{ database: "d".repeat(9000) }, { startupParameters: { search_path: "s".repeat(9000) } }]) {
      assert.include(problemsOf(huge)[0]!, "username and applicationName may have 9000 bytes together")
    }
    assert.deepStrictEqual(problemsOf({ url: "postgres://a%00b@db/app" }), [
      "url is not shown here, but must be a URL without a zero character in its parts"
    ])
    assert.deepStrictEqual(problemsOf({ startupParameters: { a: "b\0", "": "c" } }), [
      "startupParameters.a is \"b\\u0000\", but must be text without a zero character",
      "startupParameters. is \"c\", but must be left out: no setting has that name"
    ])
    for (const field of ["statementTimeout", "lockTimeout", "idleInTransactionTimeout"]) {
      assert.deepStrictEqual(problemsOf({ [field]: "25 days" }), [
        `${field} is "25 days", but must be at most 24 days, or Infinity`
      ])
      assert.deepStrictEqual(problemsOf({ [field]: "24 days" }), [])
      assert.deepStrictEqual(problemsOf({ [field]: "Infinity" }), [])
    }
  })

  it("say whether the application wants connections that only read", () => {
    const isReadOnly = (name: string, value: string) =>
      resolved({ startupParameters: { [name]: value } }).connection.isReadOnly
    for (const value of ["on", "ON", "true", "t", "yes", "1"]) {
      assert.isTrue(isReadOnly("default_transaction_read_only", value), value)
      assert.isTrue(isReadOnly("Default_Transaction_Read_Only", value), value)
    }
    // A server that refuses a write all the same is no primary.
    for (const value of ["off", "false", "no", "0"]) {
      assert.isFalse(isReadOnly("default_transaction_read_only", value), value)
    }
  })

  it("say whether reads share connections, and how", () => {
    assert.isUndefined(resolved({}).sharedReads)
    assert.isUndefined(resolved({ sharedReads: false }).sharedReads)
    const standard = { max: 2, timeoutMillis: 100, isOwnTimeout: false, maxInFlight: 128, functions: new Set<string>() }
    assert.deepStrictEqual(resolved({ sharedReads: true }).sharedReads, standard)
    assert.deepStrictEqual(resolved({ sharedReads: {} }).sharedReads, standard)
    assert.deepStrictEqual(
      resolved({
        statementTimeout: "1 second",
        sharedReads: {
          max: 1,
          statementTimeout: "2 seconds",
          maxInFlight: 9,
          functions: ["Similarity", "app.full_name"]
        }
      }).sharedReads,
      {
        max: 1,
        timeoutMillis: 1000,
        isOwnTimeout: true,
        maxInFlight: 9,
        functions: new Set(["similarity", "app.full_name"])
      }
    )
    assert.deepStrictEqual(
      problemsOf({
        sharedReads: { max: 9, statementTimeout: "Infinity", maxInFlight: 0, functions: ["f(x)", 1], lanes: 2 }
      }),
      [
        "sharedReads.lanes is no option; the options are max, statementTimeout, maxInFlight, functions",
        "sharedReads.max is 9, but must be a whole number from 1 to 8",
        "sharedReads.statementTimeout is \"Infinity\", but must be a duration above zero, such as \"5 seconds\"",
        "sharedReads.maxInFlight is 0, but must be a whole number of at least 1",
        "sharedReads.functions[0] is \"f(x)\", but must be the name of a function, such as \"similarity\"",
        "sharedReads.functions[1] is 1, but must be the name of a function, such as \"similarity\""
      ]
    )
    assert.deepStrictEqual(problemsOf({ sharedReads: "yes" }), [
      "sharedReads is \"yes\", but must be true, false or a record with max, statementTimeout, maxInFlight and functions"
    ])
    assert.deepStrictEqual(problemsOf({ sharedReads: true, pooler: "transaction" }), [
      "sharedReads is true, but must be left out with pooler \"transaction\", which refuses the settings of such a connection"
    ])
    assert.deepStrictEqual(problemsOf({ sharedReads: false, pooler: "transaction" }), [])
  })

  it.effect("of shared reads come from the environment", () =>
    Effect.gen(function*() {
      const read = (env: Record<string, string>) => PgPool.config("DB").parse(ConfigProvider.fromEnv({ env }))
      assert.deepStrictEqual(yield* read({ DB_SHARED_READS: "true" }), { sharedReads: true })
      assert.deepStrictEqual(yield* read({ DB_SHARED_READS: "off" }), { sharedReads: false })
      assert.deepStrictEqual(yield* read({ DB_SHARED_READS_MAX: "1", DB_SHARED_READS_STATEMENT_TIMEOUT: "50ms" }), {
        sharedReads: { max: 1, statementTimeout: 50 }
      })
      assert.deepStrictEqual(yield* read({ DB_SHARED_READS: "no", DB_SHARED_READS_MAX: "1" }), { sharedReads: false })
      const error = yield* Effect.flip(read({ DB_SHARED_READS: "2" }))
      assert.include(error.message, "DB_SHARED_READS is \"2\", but must be true or false")
    }))

  it("name one host, and say so where there is more", () => {
    const addressOf = (host: string) => resolved({ host }).connection.address.host
    assert.deepStrictEqual(["db.internal", "127.0.0.1", "::1", "[::1]", "fe80::1%eth0"].map(addressOf), [
      "db.internal",
      "127.0.0.1",
      "::1",
      "::1",
      "fe80::1%eth0"
    ])
    for (const host of ["db:5432", "db1,db2", "postgres://db", "ada@db", " db", "", "[db]"]) {
      assert.deepStrictEqual(problemsOf({ host }), [`host is ${JSON.stringify(host)}, but must be ${mustBeHost}`])
    }
  })

  it("of a URL are taken as they are written", () => {
    assert.deepStrictEqual(Url.read("postgres://db/app?password=a+b%20c&application_name=x=y"), {
      host: "db",
      database: "app",
      password: "a+b c",
      applicationName: "x=y"
    })
    // The file of a secret often ends with a line break.
    assert.deepStrictEqual(Url.read(" postgres://db/app\n"), { host: "db", database: "app" })
    // What is empty says nothing.
    assert.deepStrictEqual(Url.read("postgres://db/app?host=&user=&password=&port="), { host: "db", database: "app" })
    const hosts = [{ host: "/run/pg", port: 1 }, { host: "db2", port: 2 }]
    for (
      const url of [
        "postgres://%2Frun%2Fpg:1,db2:2",
        "postgres:///?host=/run/pg,db2&port=1,2",
        "postgres:///?port=1,2&host=%2Frun%2Fpg,db2"
      ]
    ) assert.deepStrictEqual(Url.read(url), { hosts }, url)
    assert.deepStrictEqual(Url.read("postgres://a,b/?host=/run"), { host: "/run" })
    assert.deepStrictEqual(Url.read("postgres://db?channel_binding=prefer"), { host: "db" })
  })

  it("of TLS are checked before anything is opened, because the driver would meet them where nobody can catch it", () => {
    const is = "ssl is an object, but must be the options of tls.connect: "
    const pem = "must be the text of a certificate (PEM), and not the name of its file"
    const cases: ReadonlyArray<readonly [ssl: object, problem: string]> = [
      [{ ca: "/etc/ssl/ca.pem" }, `ca ${pem}`],
      [{ ca: "" }, `ca ${pem}`],
      [{ ca: [] }, `ca ${pem}`],
      [{ ca: [certificate, "ca.pem"] }, `ca ${pem}`],
      [{ cert: "client.pem", key }, "cert and key must be texts (PEM), and not the names of their files"],
      [{ cert: clientCertificate, key }, "key is not the key of cert"],
      [{ cert: clientCertificate, key: lockedKey, passphrase: "hunter2" }, "passphrase does not open key"],
      [{ cert: clientCertificate, key: lockedKey }, "passphrase does not open key"]
    ]
    for (const [ssl, problem] of cases) assert.deepStrictEqual(problemsOf({ ssl }), [is + problem])
    // In the words of Node.
    const others = [
      { minVersion: "TLSv9" },
      { ciphers: "nonsense" },
      { servername: 5 },
      { key, passphrase: 7_654_321 },
      { ALPNProtocols: 5 },
      { minDHSize: 0 },
      { checkServerIdentity: 5 }
    ]
    for (const ssl of others) {
      const [problem = "", ...rest] = problemsOf({ ssl })
      assert.isTrue(problem.startsWith(is), JSON.stringify(ssl))
      assert.notInclude(problem, "7654321")
      assert.deepStrictEqual(rest, [])
    }
    const getter = {
      get ca(): string {
        throw new Error("no")
      }
    }
    assert.deepStrictEqual(problemsOf({ ssl: getter }), [`${is}no`])
    const valid = [
      true,
      false,
      {},
      { ca: undefined },
      { ca: Buffer.from(certificate) },
      { ca: [certificate, certificate] },
      { cert: clientCertificate, key: clientKey },
      { cert: clientCertificate, key: lockedKey, passphrase },
      { servername: "db" }
    ]
    for (const ssl of valid) assert.deepStrictEqual(problemsOf({ ssl }), [])
  })

  it("keep no key of TLS where somebody looks", () => {
    const given = {
      ca: certificate,
      cert: clientCertificate,
      key: lockedKey,
      passphrase,
      minVersion: "TLSv1.3" as const
    }
    const settings = resolved({ password: "hunter2", ssl: given })
    const shown = inspect(settings, { depth: 20, showHidden: true, maxStringLength: Infinity })
    for (const secret of [passphrase, "hunter2", "PRIVATE KEY", lockedKey.split("\n")[1]!]) {
      assert.notInclude(shown, secret)
    }
  })

  it("never show a secret", () => {
    const secret = "hunter2"
    for (
      const options of [
        { url: `mysql://ada:${secret}@db/app` },
        { url: `postgres://ada:${secret}@db/app?sslmode=prefer` },
        { url: `postgres://ada:${secret}@db/app?foo=bar` },
        { url: `postgres://ada:${secret}%@db/app` },
        { url: secret },
        { url: Redacted.make(secret) },
        { url: `postgres://db/app?port=${secret}` },
        // A password whose characters are not written with %.
        { url: `postgres://ada:1?${secret}@db/app` },
        { url: `postgres://ada:1/${secret}@db/app` },
        { url: `postgres://ada:1#${secret}@db/app` },
        { url: `postgres://ada:1?a&${secret}@db/app` },
        { pasword: secret }
      ]
    ) {
      const error = Result.getOrThrow(Result.flip(Options.resolve(options)))
      assert.notInclude(JSON.stringify([error.message, error.problems]), secret)
      assert.include(error.message, "must be" in options ? "" : Object.keys(options)[0]!)
    }
  })

  it("are refused with all problems at once, before anything is opened", () =>
    Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const error = yield* PoolAssert.failsWith(
        PgPool.make({
          port: 0,
          max: 0,
          password: 7 as never,
          ssl: "yes" as never,
          url: "" as never,
          startupParameters: { statement_timeout: "1", search_path: 7 as never, client_encoding: "latin1" },
          cancelTimeout: "Infinity",
          isolatoin: "serializable"
        } as PgPool.Options),
        "PoolConfigError"
      )
      assert.deepStrictEqual(error.problems.map(({ message }) => message), [
        "isolatoin is no option; the options are " + Object.keys(Options.pgPoolTable.rules).join(", "),
        "url is not shown here, but must be a URL such as postgres://user:password@host:5432/database",
        "port is 0, but must be a whole number from 1 to 65535",
        "password is a number, but must be text that is not empty, or a Redacted, or an Effect of one",
        "ssl is \"yes\", but must be true, false or the options of tls.connect",
        "startupParameters.statement_timeout is \"1\", but must be left out: use statementTimeout",
        "startupParameters.search_path is 7, but must be text without a zero character",
        "startupParameters.client_encoding is \"latin1\", but must be left out: the driver needs it",
        "cancelTimeout is \"Infinity\", but must be a duration above zero, such as \"5 seconds\"",
        "max is 0, but must be a whole number of at least 1"
      ])
    }))))

  it("have no deadline of a cancel beyond that of the driver", () => {
    assert.deepStrictEqual(problemsOf({ cancelTimeout: "6 seconds" }), [
      "cancelTimeout is \"6 seconds\", but must be at most 5 seconds"
    ])
    assert.strictEqual(resolved({ cancelTimeout: "5 seconds" }).connection.cancelTimeoutMillis, 5000)
  })

  it("become the settings with which each session begins", () => {
    assert.deepStrictEqual(resolved({}).client.startupParameters, { idle_in_transaction_session_timeout: "60000" })
    assert.deepStrictEqual(
      resolved({
        startupParameters: { search_path: "app" },
        statementTimeout: "2 seconds",
        lockTimeout: 1500,
        idleInTransactionTimeout: "Infinity"
      }).client.startupParameters,
      { search_path: "app", statement_timeout: "2000", lock_timeout: "1500" }
    )
  })

  it("come from the environment, secrets too", () =>
    Effect.gen(function*() {
      const config = yield* PgPool.config("DB").parse(
        ConfigProvider.fromEnv({
          env: {
            DB_HOST: "db",
            DB_PASSWORD: "secret",
            DB_SSL: "true",
            DB_MAX: "4",
            DB_CONTROL_TIMEOUT: "2s",
            DB_UNRELATED: "1"
          }
        })
      )
      assert.strictEqual(Redacted.value(config.password as Redacted.Redacted), "secret")
      const { password: _, ...rest } = config
      assert.deepStrictEqual(rest, { host: "db", ssl: true, max: 4, controlTimeout: 2000 })
      const error = yield* Effect.flip(
        PgPool.config("DB").parse(ConfigProvider.fromEnv({ env: { DB_URL: "mysql://ada:hunter2@db", DB_MAX: "0" } }))
      )
      assert.include(error.message, "DB_URL is not shown here, but must be a URL that begins with postgres://")
      assert.include(error.message, "DB_MAX is 0")
      assert.notInclude(error.message, "hunter2")
    }).pipe(Effect.runPromise))

  it("may be a URL of several hosts", () => {
    const url = "postgres://ada:p%40ss@db1,db2:5433,[::1]:6000/app?sslmode=require"
    const { client, hosts } = resolved({ url, port: 7000 })
    assert.deepStrictEqual(hosts!.addresses, [
      { host: "db1", port: 7000, path: undefined },
      { host: "db2", port: 5433, path: undefined },
      { host: "::1", port: 6000, path: undefined }
    ])
    assert.deepStrictEqual([client.username, client.database, client.ssl], ["ada", "app", true])
    assert.strictEqual(Redacted.value(client.password as Redacted.Redacted), "p@ss")
    const { hosts: inParameter } = resolved({ url: "postgres:///app?host=db1,db2" })
    assert.deepStrictEqual(inParameter!.addresses.map(({ host }) => host), ["db1", "db2"])
    // An option comes before the URL.
    assert.deepStrictEqual(resolved({ url, hosts: ["db9"] }).hosts!.addresses.map(({ host }) => host), ["db9"])
    const alone = resolved({ url, host: "db9" })
    assert.deepStrictEqual([alone.hosts, alone.connection.address.host], [undefined, "db9"])
  })

  it("refuse what is no URL of PostgreSQL, and say why", () => {
    const refused: ReadonlyArray<readonly [url: string, mustBe: string]> = [
      ["db", "a URL such as postgres://user:password@host:5432/database"],
      ["http://db", "a URL that begins with postgres://"],
      ["postgres://a%@db", "a URL whose parts are written with % correctly"],
      ["postgres://db1,/app", "a URL whose hosts are written like db1,db2:5433"],
      ["postgres://db1,db2:99999/app", "a URL whose hosts are written like db1,db2:5433"],
      ["postgres://app?host=db1,", "a URL whose hosts are written like db1,db2:5433"],
      ["postgres://db?port=0", "a URL whose port is from 1 to 65535"],
      [
        "postgres://db?sslmode=prefer",
        "a URL whose sslmode is disable, require, verify-ca or verify-full: with prefer or allow nobody knows"
      ],
      ["postgres://db?connect_timeout=5", "a URL without the parameter connect_timeout: use the option connectTimeout"],
      ["postgres://db?foo=5", "a URL without the parameter foo: use the options of the pool"],
      ["postgres://db?foo=", "a URL without the parameter foo: use the options of the pool"],
      ["postgres://db?f%20o=", "a URL without parameters that have no name: use the options of the pool"],
      [
        "postgres://db?sslmode=require&sslrootcert=/ca.pem",
        "a URL without the parameter sslrootcert: give the certificate as the option ssl: { ca }; without it, those that " +
        "Node knows count"
      ],
      [
        "postgres://db?channel_binding=require",
        "a URL without the parameter channel_binding: the driver has none, and sslmode=verify-full has the server proved " +
        "by its certificate"
      ],
      ["postgres://db?host=/run&port=1,2", "a URL with one port, or with one for each host"],
      ["postgres://ada:pass\nword@db/app", "a URL without line breaks"],
      ["postgres://[fe80::1%25eth0]/app", "a URL such as postgres://user:password@host:5432/database"]
    ]
    for (const [url, mustBe] of refused) {
      assert.deepStrictEqual(problemsOf({ url }), [`url is not shown here, but must be ${mustBe}`])
    }
  })
})
