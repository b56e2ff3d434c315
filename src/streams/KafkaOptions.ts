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
  problems.push(...saslProblems(options.sasl))
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

/** Source: https://kafka.apache.org/documentation/#topicconfigs (legal characters and length of a name). */
export const isTopic = (name: string): boolean => /^[A-Za-z0-9._-]{1,249}$/.test(name) && name !== "." && name !== ".."

export const topicExpected = "the name of a topic: up to 249 letters, digits and . _ -"

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

/** What a header or a handshake can carry. */
const token = /^[\x21-\x7e]+$/

const saslProblems = (sasl: Options["sasl"]): ReadonlyArray<Problem> => {
  if (sasl?.mechanism !== "oauthbearer") return []
  if (sasl.token === undefined) {
    return (["tokenUrl", "clientId", "clientSecret"] as const).flatMap((name) =>
      sasl[name] === undefined
        ? [{ path: ["sasl", name], expected: "a value, since there is no token", found: undefined }]
        : []
    )
  }
  const problems: Array<Problem> = []
  if (!token.test(Redacted.value(sasl.token))) {
    const expected = "a token, which is letters, digits and signs without spaces"
    problems.push({ path: ["sasl", "token"], expected, found: "other text" })
  }
  if (sasl.tokenUrl !== undefined) {
    problems.push({ path: ["sasl", "tokenUrl"], expected: "either a token or where to get one", found: "both" })
  }
  return problems
}

/** Text that is no file may be the key itself, of which nothing is shown. */
const shownPath = (path: string): string => (/^\/[^\n]*$|^[^\n]*\.[^\n]*$/.test(path) ? path : "text that is no PEM")

const tlsOf = Effect.fnUntraced(function* (tls: Options["tls"], folder: string, problems: Array<Problem>) {
  if (tls === undefined || tls === false) return undefined
  if (tls === true) return plain
  const fs = yield* FileSystem.FileSystem
  const paths = yield* Path.Path
  const read = (name: string, path: string) =>
    Effect.catch(fs.readFile(paths.resolve(folder, path)), (error) => {
      const expected = `a file that can be read (${error.reason._tag})`
      problems.push({ path: ["tls", name], expected, found: shownPath(path) })
      return Effect.succeed(undefined)
    })
  const pem = (name: "ca" | "cert" | "key") =>
    Effect.gen(function* () {
      const given = tls[name]
      if (given === undefined || isPem(Redacted.value(given))) return given
      const path = Redacted.value(given)
      const bytes = yield* read(name, path)
      if (bytes === undefined) return undefined
      const text = new TextDecoder().decode(bytes)
      if (!isPem(text)) problems.push({ path: ["tls", name], expected: "a file of PEM text", found: shownPath(path) })
      return Redacted.make(text)
    })
  for (const [name, other] of pairs) {
    if (tls[name] !== undefined || tls[other] === undefined) continue
    problems.push({ path: ["tls", name], expected: `a value, since there is a ${other}`, found: undefined })
  }
  if (tls.passphrase !== undefined && tls.key === undefined && tls.pfx === undefined) {
    problems.push({ path: ["tls", "passphrase"], expected: "a key or a pfx that it opens", found: "neither" })
  }
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

const pairs = [
  ["key", "cert"],
  ["cert", "key"]
] as const

const isPem = (text: string): boolean => text.includes("-----BEGIN")
