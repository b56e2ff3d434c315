/** Makes a connection to an EventRelay server of its options: an address, a token that can be one, TLS that is whole. */
import { Duration, Effect, FileSystem, Path, Redacted, Result } from "effect"
import { Base64 } from "effect/encoding"
import { OptionsError, type Problem, type Site } from "../services/Component.ts"
import type { Connection, Options, Tls } from "../services/EventRelayConnection.ts"
import * as Utf8Text from "./Utf8Text.ts"

/** Relative paths start at `folder`. Fails: `OptionsError`, with everything wrong and no secret. */
export const connectionOf = Effect.fnUntraced(function* (
  options: Options,
  folder: string
): Effect.fn.Return<Connection, OptionsError, FileSystem.FileSystem | Path.Path> {
  const problems: Array<Problem> = []
  const host = options.host.replace(/^\[(.*)\]$/, "$1")
  if (!isHost(host)) {
    problems.push({
      path: ["host"],
      expected: "a host's name or address, such as localhost",
      found: shown(options.host)
    })
  }
  const token = given(options.token)
  if (token !== undefined && !isToken(Redacted.value(token))) {
    problems.push({ path: ["token"], expected: "base64 of an API key's key:secret", found: "other text" })
  }
  const tls = yield* tlsOf(options.tls, folder, problems)
  if (problems.length > 0) return yield* new OptionsError({ problems })
  return {
    host,
    port: options.port,
    token: token && Redacted.make(Redacted.value(token).trim()),
    tls,
    callMillis: Duration.toMillis(options.timeout),
    keepaliveMillis: Duration.toMillis(options.keepalive)
  }
})

/** Options without a host reach the server of the pipeline's own source, with its token where they have none. */
export const shared = (
  options: Omit<Options, "host"> & { readonly host?: string },
  { source }: Pick<Site, "source">
): Effect.Effect<Options, OptionsError> => {
  const { host } = options
  if (host !== undefined) return Effect.succeed({ ...options, host })
  if (source.type !== "eventrelay") {
    const expected = "a host, since the pipeline's source is not eventrelay"
    return Effect.fail(new OptionsError({ problems: [{ path: ["host"], expected, found: undefined }] }))
  }
  const own = source as unknown as Options
  return Effect.succeed({
    ...(own.token === undefined ? undefined : { token: own.token }),
    ...(own.tls === undefined ? undefined : { tls: own.tls }),
    ...options,
    host: own.host,
    port: own.port
  })
}

/** What is empty counts as absent, so that a variable may be so. */
const given = (secret: Redacted.Redacted<string> | undefined): Redacted.Redacted<string> | undefined =>
  secret === undefined || Redacted.value(secret).trim() === "" ? undefined : secret

/** A name, an IPv4 or an IPv6 address. */
const isHost = (host: string): boolean =>
  /^[A-Za-z0-9._-]+$/.test(host) || /^[0-9A-Fa-f.]*(?::[0-9A-Fa-f.]*){2,7}$/.test(host)

/** Without what a URL could hold besides. */
const shown = (host: string): string => host.replace(/\/\/[^/?#]*@/, "//").replace(/[?#].*$/s, "")

/** Written as the server reads it: the standard alphabet, padded. */
const isToken = (text: string): boolean => {
  const bytes = Result.getOrUndefined(Base64.decode(text.trim()))
  if (bytes === undefined || Base64.encode(bytes) !== text.trim()) return false
  return /^[^:]+:.+$/s.test(Utf8Text.read(bytes) ?? "")
}

const isPem = (text: string): boolean => text.includes("-----BEGIN")

/** Text that is no file may be the key itself, of which nothing is shown. */
const shownPath = (path: string): string => (/^\/[^\n]*$|^[^\n]*\.[^\n]*$/.test(path) ? path : "text that is no PEM")

const parts = ["ca", "cert", "key"] as const

const tlsOf = Effect.fnUntraced(function* (
  options: Options["tls"],
  folder: string,
  problems: Array<Problem>
): Effect.fn.Return<Tls | undefined, never, FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const paths = yield* Path.Path
  const have = parts.filter((name) => given(options?.[name]) !== undefined)
  if (options === undefined || have.length === 0) {
    if (options?.serverName !== undefined) {
      problems.push({ path: ["tls"], expected: "ca, cert and key besides serverName", found: "none of them" })
    }
    return undefined
  }
  const pem = Effect.fnUntraced(function* (name: (typeof parts)[number]) {
    const secret = given(options[name])
    if (secret === undefined) {
      const expected = `a value, since there is ${have.join(" and ")}: TLS needs ca, cert and key`
      problems.push({ path: ["tls", name], expected, found: undefined })
      return Redacted.make("")
    }
    const path = Redacted.value(secret)
    if (isPem(path)) return secret
    const text = yield* Effect.catch(fs.readFileString(paths.resolve(folder, path)), (error) => {
      const expected = `a file that can be read (${error.reason._tag})`
      problems.push({ path: ["tls", name], expected, found: shownPath(path) })
      return Effect.succeed(undefined)
    })
    if (text === undefined) return Redacted.make("")
    if (!isPem(text)) problems.push({ path: ["tls", name], expected: "a file of PEM text", found: shownPath(path) })
    return Redacted.make(text)
  })
  return { ca: yield* pem("ca"), cert: yield* pem("cert"), key: yield* pem("key"), serverName: options.serverName }
})
