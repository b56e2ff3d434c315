/** Makes a connection of its options: brokers with ports, TLS with what its files hold, SASL that is whole. */
import { Duration, Effect, FileSystem, Path, Redacted } from "effect"
import { OptionsError, type Problem, type Site } from "../services/Component.ts"
import type { Brokers as BrokersField, Connection, Options, Tls } from "../services/KafkaConnection.ts"

/** Relative paths start at `folder`. Fails: `OptionsError`, with everything wrong. */
export const connectionOf = Effect.fnUntraced(function* (
  options: Options,
  brokers: string | ReadonlyArray<string>,
  folder: string
): Effect.fn.Return<Connection, OptionsError, FileSystem.FileSystem | Path.Path> {
  const problems: Array<Problem> = []
  const list = (typeof brokers === "string" ? brokers.split(",") : brokers).map((one) => one.trim())
  const addresses = list.map((one, i) => {
    const address = /^([^\s:/[\]]+)(?::(\d{1,5}))?$/.exec(one)
    if (address !== null && Number(address[2] ?? 1) <= 65_535) return `${address[1]}:${address[2] ?? portDefault}`
    const path = typeof brokers === "string" ? ["brokers"] : ["brokers", i]
    problems.push({ path, expected: "a broker such as localhost:9092", found: one })
    return one
  })
  if (options.sasl?.mechanism === "oauthbearer" && options.sasl.token === undefined) {
    for (const name of ["tokenUrl", "clientId", "clientSecret"] as const) {
      if (options.sasl[name] !== undefined) continue
      problems.push({ path: ["sasl", name], expected: "a value, since there is no token", found: undefined })
    }
  }
  const tls = yield* tlsOf(options.tls, folder, problems)
  if (problems.length > 0) return yield* new OptionsError({ problems })
  return {
    brokers: addresses,
    clientId: options.clientId,
    tls,
    sasl: options.sasl,
    connectMillis: Duration.toMillis(options.connectTimeout),
    requestMillis: Duration.toMillis(options.requestTimeout),
    metadataMillis: Duration.toMillis(options.metadataAge)
  }
})

/** Options without brokers reach the cluster of the pipeline's own Kafka source, in the same way. */
export const shared = <O extends Options & { readonly brokers?: Brokers | undefined }>(
  options: O,
  { source }: Pick<Site, "source">
): Effect.Effect<{ readonly brokers: Brokers; readonly connection: Options }, OptionsError> => {
  const { brokers } = options
  if (brokers !== undefined) return Effect.succeed({ brokers, connection: options })
  if (source.type !== "kafka") {
    const expected = "the brokers, since the pipeline's source is not kafka"
    return Effect.fail(new OptionsError({ problems: [{ path: ["brokers"], expected, found: undefined }] }))
  }
  const { sasl, tls, ...own } = source as unknown as Options & { readonly brokers: Brokers }
  return Effect.succeed({
    brokers: own.brokers,
    connection: {
      ...(tls === undefined ? undefined : { tls }),
      ...(sasl === undefined ? undefined : { sasl }),
      ...options
    }
  })
}

type Brokers = typeof BrokersField.Type

const portDefault = 9092

const plain: Tls = {
  ca: undefined,
  cert: undefined,
  key: undefined,
  pfx: undefined,
  passphrase: undefined,
  verify: true,
  verifyHost: true
}

const tlsOf = Effect.fnUntraced(function* (tls: Options["tls"], folder: string, problems: Array<Problem>) {
  if (tls === undefined || tls === false) return undefined
  if (tls === true) return plain
  const fs = yield* FileSystem.FileSystem
  const paths = yield* Path.Path
  const read = (name: string, path: string) =>
    Effect.catch(fs.readFile(paths.resolve(folder, path)), (error) => {
      problems.push({ path: ["tls", name], expected: `a file that can be read (${error.reason._tag})`, found: path })
      return Effect.succeed(undefined)
    })
  const pem = (name: "ca" | "cert" | "key") =>
    Effect.gen(function* () {
      const given = tls[name]
      if (given === undefined || Redacted.value(given).includes("-----BEGIN")) return given
      const bytes = yield* read(name, Redacted.value(given))
      return bytes && Redacted.make(new TextDecoder().decode(bytes))
    })
  const pfx = tls.pfx === undefined ? undefined : yield* read("pfx", tls.pfx)
  return {
    ca: yield* pem("ca"),
    cert: yield* pem("cert"),
    key: yield* pem("key"),
    pfx: pfx && Redacted.make(pfx),
    passphrase: tls.passphrase,
    verify: tls.verify,
    verifyHost: tls.verifyHost
  }
})
