/** Lets clients of a gateway in by keys in a file, by tokens, or all of them where that is said or nobody else can come. */
import { resolve } from "node:path"
import { Clock, Effect, Layer, Result } from "effect"
import { OptionsError, type Problem } from "../services/Component.ts"
import { type Access, GatewayAccess, type Jwt, type Options, type Where } from "../services/GatewayAccess.ts"
import { later, type Ready } from "../services/Ready.ts"
import * as GatewayAudit from "../streams/GatewayAudit.ts"
import { Buckets } from "../streams/GatewayRate.ts"
import { Gate } from "./GatewayGate.ts"
import * as GatewayJwt from "./GatewayJwt.ts"
import * as GatewayKeys from "./GatewayKeys.ts"
import { type Parse, WatchedFile } from "./WatchedFile.ts"

export const make: GatewayAccess["Service"]["make"] = Effect.fnUntraced(function* (options: Options, where: Where) {
  const clock = yield* Clock.Clock
  const { jwt, keys } = options.access ?? {}
  const files = new Files(where, clock)
  const keyFile = keys === undefined ? undefined : keysOf(keys, files)
  const signers = jwt === undefined ? undefined : signersOf(jwt, files)
  const problems = [...files.problems, ...opennessProblems(options, where)]
  if (problems.length > 0) return yield* new OptionsError({ problems })
  for (const warning of warningsOf(options, where)) yield* Effect.logWarning(`${where.pipeline}: ${warning}`)
  const tokens =
    jwt === undefined || signers === undefined
      ? undefined
      : { ...jwt, ...(yield* GatewayJwt.make({ ...jwt, keys: signers, clock, pipeline: where.pipeline })) }
  const gate = new Gate({
    clock,
    keys: keyFile && (() => keyFile.value),
    tokens,
    buckets: bucketsOf(options),
    open: isOpen(options)
  })
  /** The files are as they are on the disk; what is new in them is logged. */
  const upToDate = <A>(look: () => Ready<A>): Ready<A> => {
    const news = files.look()
    const found = look()
    return news === undefined ? found : Effect.andThen(news, later(found))
  }
  const access: Access = {
    known: (headers) => upToDate(() => gate.known(headers)),
    check: (headers, client, right) => upToDate(() => gate.check(headers, client, right)),
    audit: (registration) => GatewayAudit.log(registration, gate.who(registration.headers), where.pipeline)
  }
  return access
})

export const layer: Layer.Layer<GatewayAccess> = Layer.succeed(GatewayAccess, { make })

// ---------------------------------------------------------------------------------------------------- openness

const isOpen = ({ access }: Options): boolean =>
  access?.open === true || (access?.keys === undefined && access?.jwt === undefined)

/** Only what no other machine can reach. Source: https://www.rfc-editor.org/rfc/rfc6890 (127.0.0.0/8 and ::1). */
export const isLoopback = (host: string): boolean =>
  /^(localhost|\[?::1\]?|127(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3})$/i.test(host)

const opennessProblems = (options: Options, { host }: Where): ReadonlyArray<Problem> => {
  const { jwt, keys, open } = options.access ?? {}
  const isClosed = keys !== undefined || jwt !== undefined
  if (open === true && isClosed) {
    return [{ path: ["access", "open"], expected: "either open: true, or keys and jwt", found: "both" }]
  }
  if (isClosed || open === true) return []
  if (open === false) {
    return [{ path: ["access", "open"], expected: "keys or jwt beside open: false", found: "neither" }]
  }
  if (host !== undefined && isLoopback(host)) return []
  const others = host === undefined ? "it is not known where the server listens" : `others can reach ${host}`
  const expected = `keys or jwt, since ${others}; or open: true, if everybody may use this gateway`
  return [{ path: ["access"], expected, found: options.access }]
}

const warningsOf = ({ access }: Options, { host }: Where): ReadonlyArray<string> => {
  const { jwt, keys, open } = access ?? {}
  if (open === true)
    return [`everybody who can reach ${host ?? "it"} may use the gateway, since access says open: true`]
  if (jwt === undefined && keys === undefined) {
    return ["everybody on this machine may use the gateway, since it has no access options"]
  }
  const warnings: Array<string> = []
  const url = jwt === undefined ? undefined : urlOf(jwt.jwks)
  if (url?.protocol === "http:" && !isLoopback(url.hostname)) {
    warnings.push("access.jwt.jwks is a URL without TLS: whoever can change what it answers can make tokens")
  }
  if (jwt !== undefined && jwt.audience === undefined) {
    warnings.push("access.jwt has no audience: tokens that were issued for other services are taken too")
  }
  return warnings
}

// ---------------------------------------------------------------------------------------------------- what options name

const bucketsOf = ({ rate }: Options): Buckets | undefined =>
  rate && new Buckets({ perSecond: rate.perSecond, burst: rate.burst ?? Math.max(1, Math.ceil(rate.perSecond)) })

const keysOf = (keys: string, files: Files): WatchedFile<GatewayKeys.Keys> | undefined => {
  const expected = `a file of keys, such as sluice key add ${files.shown(files.at(keys))} <client> makes`
  return files.open(["access", "keys"], keys, GatewayKeys.parse, expected)
}

const urlOf = (text: string): URL | undefined =>
  /^https?:\/\//i.test(text) ? (URL.parse(text) ?? undefined) : undefined

const signersOf = ({ jwks }: Jwt, files: Files): GatewayJwt.Options["keys"] | undefined => {
  const url = urlOf(jwks)
  const path = ["access", "jwt", "jwks"]
  const expected = "a URL that begins with https://, or a file with a JSON Web Key Set"
  if (url === undefined) {
    const file = files.open(path, jwks, GatewayJwt.parse, expected)
    return file && { file }
  }
  if (url.username === "" && url.password === "") return { url, shown: files.shown(`${url.origin}${url.pathname}`) }
  files.problems.push({ path, expected: "a URL without user and password", found: "one with them" })
  return undefined
}

/** The files of the options, and what has become of them. */
class Files {
  readonly problems: Array<Problem> = []
  private readonly where: Where
  private readonly clock: Clock.Clock
  private readonly watched: Array<{ readonly file: WatchedFile<unknown>; readonly shown: string }> = []

  constructor(where: Where, clock: Clock.Clock) {
    this.where = where
    this.clock = clock
  }

  shown(text: string): string {
    return this.where.hide?.(text) ?? text
  }

  at(name: string): string {
    return resolve(this.where.folder, name)
  }

  open<A>(path: Problem["path"], name: string, parse: Parse<A>, expected: string): WatchedFile<A> | undefined {
    const opened = WatchedFile.open(this.at(name), parse, this.clock.currentTimeMillisUnsafe())
    if (Result.isFailure(opened)) {
      this.problems.push({ path, expected: `${expected} (${opened.failure})`, found: name })
      return undefined
    }
    this.watched.push({ file: opened.success, shown: this.shown(name) })
    return opened.success
  }

  /** Reads what has changed; what is to be said about it comes back. */
  look(): Effect.Effect<void> | undefined {
    let news: Effect.Effect<void> | undefined
    for (const { file, shown } of this.watched) {
      const found = file.look(this.clock.currentTimeMillisUnsafe())
      if (found === undefined) continue
      const about = `${this.where.pipeline}: ${shown}: ${found.words}`
      const log = found.broken ? Effect.logWarning(`${about}; what was read before still holds`) : Effect.logInfo(about)
      news = news === undefined ? log : Effect.andThen(news, log)
    }
    return news
  }
}
