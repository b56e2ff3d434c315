/** Asks a Confluent-compatible schema registry for schemas by their ids, and waits while it is away. */
import { Buffer } from "node:buffer"
import { Deferred, Duration, Effect, type Exit, Random, Redacted, Result, type Scope } from "effect"
import { DecodeError } from "../services/Codec.ts"
import { OptionsError } from "../services/Component.ts"
import type { Ready } from "../services/Ready.ts"
import type { Reply } from "../services/Reply.ts"
import type { SchemaType } from "../services/SchemaRegistry.ts"
import * as Outage from "../streams/Outage.ts"
import * as HttpEndpoint from "./HttpEndpoint.ts"

export interface Options extends Pick<HttpEndpoint.Options, "headers" | "hide"> {
  /** Of the registry, such as `http://localhost:8081`. */
  readonly url: string
  readonly username?: string | undefined
  readonly password?: Redacted.Redacted<string> | undefined
  /** For one request; 10 seconds by default. */
  readonly timeout?: Duration.Input | undefined
  /** In front of what is logged; the registry by default. */
  readonly name?: string | undefined
  /** Schemas kept, and the bytes of their texts. */
  readonly schemasMax?: number | undefined
  readonly textBytesMax?: number | undefined
}

export interface Registered {
  readonly type: SchemaType
  /** As the registry has it. */
  readonly text: string
}

export interface ConfluentClient {
  /** At once when it is kept; otherwise asks until there is an answer. Fails: when no other answer is to be expected. */
  readonly schema: (id: number) => Ready<Registered, DecodeError>
}

export const timeoutDefault = Duration.seconds(10)
/** Units: calls at the same time, of different ids. */
const connections = 4
/** Units: bytes of an answer. */
const responseMax = 4 * 1024 * 1024
const schemasMaxDefault = 1_000
const textBytesMaxDefault = 8 * 1024 * 1024
/** Units: milliseconds between two requests while the registry is away, and at most when it asks for more. */
const backoffMillis = 200
const backoffMaxMillis = 2_000
const retryAfterMaxMillis = 300_000

/** Source: https://docs.confluent.io/platform/current/schema-registry/develop/api.html#content-types */
const accept = "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json, application/json"

/** Why there is no schema: `away` when that may change, and no record is at fault. */
interface Missing {
  readonly reason: string
  readonly away: boolean
  readonly retryAfterMillis?: number | undefined
}

export const make: (options: Options) => Effect.Effect<ConfluentClient, OptionsError, Scope.Scope> = Effect.fnUntraced(
  function* (options: Options) {
    const scope = yield* Effect.scope
    const endpoint = yield* HttpEndpoint.make({
      url: options.url,
      headers: yield* headersOf(options),
      timeout: options.timeout ?? timeoutDefault,
      connections,
      responseMax,
      hide: options.hide,
      words: wordsOf
    })
    const base = endpoint.url.origin + endpoint.url.pathname.replace(/\/+$/, "")
    const outage = Outage.make(options.name ?? "schema registry")
    const kept = keeping(options.schemasMax ?? schemasMaxDefault, options.textBytesMax ?? textBytesMaxDefault)
    const flights = new Map<number, Deferred.Deferred<Registered, Missing>>()

    const asked = (id: number): Effect.Effect<Registered, Missing> =>
      endpoint
        .ask({
          method: "GET",
          url: new URL(`${base}/schemas/ids/${id}`),
          headers: { accept },
          about: `schema ${id}`
        })
        .pipe(
          Effect.mapError(({ reason, retryable, retryAfterMillis }) => ({ reason, away: retryable, retryAfterMillis })),
          Effect.flatMap((reply) => Effect.fromResult(registeredOf(id, reply))),
          Effect.tap((found) => Effect.sync(() => kept.put(id, found)))
        )

    /** One request for all that wait for an id; it outlives whoever was first to want it. */
    const shared = (id: number): Effect.Effect<Registered, Missing> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.suspend(() => {
          const known = kept.get(id)
          if (known !== undefined) return Effect.succeed(known)
          const flight = flights.get(id)
          if (flight !== undefined) return restore(Deferred.await(flight))
          const mine = Deferred.makeUnsafe<Registered, Missing>()
          flights.set(id, mine)
          const land = (exit: Exit.Exit<Registered, Missing>) => {
            flights.delete(id)
            return Deferred.done(mine, exit)
          }
          return Effect.andThen(
            Effect.forkIn(Effect.onExit(restore(asked(id)), land), scope, { startImmediately: true }),
            restore(Deferred.await(mine))
          )
        })
      )

    const awaited = Effect.fnUntraced(function* (id: number): Effect.fn.Return<Registered, DecodeError> {
      for (let backoff = backoffMillis; ; backoff = Math.min(backoff * 2, backoffMaxMillis)) {
        const answer = yield* Effect.result(shared(id))
        if (Result.isFailure(answer) && answer.failure.away) {
          const { reason, retryAfterMillis = 0 } = answer.failure
          yield* outage.failed("schemas", reason)
          const wait = backoff * (0.75 + 0.25 * (yield* Random.next))
          yield* Effect.sleep(Math.max(wait, Math.min(retryAfterMillis, retryAfterMaxMillis)))
        } else {
          yield* outage.works("schemas")
          if (Result.isSuccess(answer)) return answer.success
          return yield* new DecodeError({ reason: answer.failure.reason })
        }
      }
    })
    return { schema: (id) => kept.get(id) ?? awaited(id) }
  }
)

const headersOf = (options: Options): Effect.Effect<Readonly<Record<string, string>>, OptionsError> => {
  const { headers = {}, password, url, username } = options
  if (username === undefined) {
    if (password === undefined) return Effect.succeed(headers)
    const expected = "a username, since there is a password"
    return Effect.fail(new OptionsError({ problems: [{ path: ["username"], expected, found: "none" }] }))
  }
  const own = URL.parse(url)
  const others = own !== null && (own.username !== "" || own.password !== "")
  if (others || Object.keys(headers).some((name) => name.toLowerCase() === "authorization")) {
    const expected = "either username or an authorization of its own, in the headers or in the URL"
    return Effect.fail(new OptionsError({ problems: [{ path: ["username"], expected, found: "both" }] }))
  }
  const pair = `${username}:${password === undefined ? "" : Redacted.value(password)}`
  return Effect.succeed({ ...headers, authorization: `Basic ${Buffer.from(pair).toString("base64")}` })
}

// ---------------------------------------------------------------------------------------------------- answers

const types: Readonly<Record<string, SchemaType>> = { AVRO: "avro", JSON: "json", PROTOBUF: "protobuf" }

/** Only what the registry itself says of an id counts against a record: anything else may be a wrong URL or key. */
const registeredOf = (id: number, { kind, payload, reason = "refused", status = 0 }: Reply) => {
  const missing = (reason: string, away: boolean): Result.Result<Registered, Missing> => Result.fail({ reason, away })
  const fields = fieldsOf(new TextDecoder().decode(payload as Uint8Array))
  if (kind === "refused") return missing(reason, isOurs(status) || !isRegistrys(fields.error_code))
  const { references, schema, schemaType = "AVRO" } = fields
  if (typeof schema !== "string") {
    return missing(`schema ${id}: the answer has no schema: is this the URL of a schema registry?`, true)
  }
  const type = typeof schemaType === "string" && Object.hasOwn(types, schemaType) ? types[schemaType] : undefined
  if (type === undefined) {
    return missing(
      `schema ${id} is of the type ${String(schemaType).slice(0, 100)}: known are AVRO, JSON, PROTOBUF`,
      false
    )
  }
  if (Array.isArray(references) && references.length > 0) {
    return missing(`schema ${id} has references to other schemas, which are not followed`, false)
  }
  return Result.succeed({ type, text: schema })
}

/** A redirect, or credentials that are not enough: the config is wrong, and no record is at fault. */
const isOurs = (status: number): boolean => status < 400 || status === 401 || status === 403 || status === 407

/** Such as 40403, where a path that is none of its own has 404. */
const isRegistrys = (code: unknown): boolean => typeof code === "number" && code >= 40_000 && code < 50_000

const fieldsOf = (text: string): Readonly<Record<string, unknown>> => {
  const read = Result.try(() => JSON.parse(text) as unknown)
  if (Result.isFailure(read) || typeof read.success !== "object" || read.success === null) return {}
  return read.success as Readonly<Record<string, unknown>>
}

const wordsOf = (body: string): string | undefined => {
  const { message } = fieldsOf(body)
  return typeof message === "string" ? message : undefined
}

// ---------------------------------------------------------------------------------------------------- kept

/** Ids never change what they stand for: what was used last is kept, within bounds. */
const keeping = (schemasMax: number, textBytesMax: number) => {
  // From the one not used for the longest time to the last one.
  const kept = new Map<number, Registered>()
  let newest: number | undefined
  let bytes = 0
  const sizeOf = ({ text }: Registered): number => Buffer.byteLength(text)
  return {
    get: (id: number): Registered | undefined => {
      const found = kept.get(id)
      if (found === undefined || id === newest) return found
      kept.delete(id)
      kept.set(id, found)
      newest = id
      return found
    },
    put: (id: number, one: Registered): void => {
      if (sizeOf(one) > textBytesMax || kept.has(id)) return
      kept.set(id, one)
      newest = id
      bytes += sizeOf(one)
      for (const [oldest, least] of kept) {
        if (kept.size <= schemasMax && bytes <= textBytesMax) return
        kept.delete(oldest)
        bytes -= sizeOf(least)
      }
    }
  }
}
