/** The rules of the event gateway: which schemas may be registered under which names, and which events are valid. */
import { Clock, Effect, Option, Result, type Scope } from "effect"
import { isLater, type Ready } from "../services/Ready.ts"
import { SchemaInvalid, SchemaLanguages, type Violation } from "../services/SchemaLanguage.ts"
import {
  type Compatibility,
  NameTaken,
  type NewVersion,
  SchemaRegistry,
  SchemaRegistryError,
  type SchemaType,
  type SchemaVersion,
  type Subject
} from "../services/SchemaRegistry.ts"
import { GatewayPatience } from "./GatewayPatience.ts"
import * as GatewaySchemas from "./GatewaySchemas.ts"

export interface NewSchema extends Subject {
  readonly type: SchemaType
  readonly schema: string
  /** What the next version must be to this one, and this one to the one before; absent keeps the rule there is, at first none. */
  readonly compatibility?: Compatibility | undefined
  /** Refuse whatever is not the first. */
  readonly once?: boolean | undefined
}

/** No client or event can be called that. */
export interface BadName {
  readonly _tag: "BadName"
  readonly reason: string
}

/** The registry cannot be asked; `retryable` when it may be later. */
export interface Away {
  readonly _tag: "Away"
  readonly reason: string
  readonly retryable: boolean
  /** For whoever asked, where that may read more than that it cannot be done. */
  readonly told?: string
}

export interface Unregistered {
  readonly _tag: "Unregistered"
  readonly reason: string
}

export type Registered =
  | { readonly _tag: "Registered"; readonly version: SchemaVersion }
  /** It is the latest version already, word for word. */
  | { readonly _tag: "Unchanged"; readonly version: SchemaVersion }
  | { readonly _tag: "Invalid"; readonly reason: string }
  | { readonly _tag: "Conflict"; readonly latest: number; readonly reasons: ReadonlyArray<string> }
  | { readonly _tag: "Exists"; readonly reason: string }
  /** Another event has this topic. */
  | { readonly _tag: "NameTaken"; readonly reason: string }
  | BadName
  | Away

/** An event as it came: a value as JSON has it, or the bytes of a language's own form. */
export type Body =
  | { readonly _tag: "Value"; readonly value: unknown }
  | { readonly _tag: "Bytes"; readonly bytes: Uint8Array }

export type Checked =
  | { readonly _tag: "Valid"; readonly version: SchemaVersion; readonly value: unknown }
  | { readonly _tag: "Violations"; readonly version: SchemaVersion; readonly violations: ReadonlyArray<Violation> }
  /** Its bytes are nothing that this language reads. */
  | { readonly _tag: "Unreadable"; readonly version: SchemaVersion; readonly reason: string }
  /** What was registered cannot be used by this program. */
  | { readonly _tag: "Invalid"; readonly reason: string }
  | Unregistered
  | BadName
  | Away

export type Found<A> = { readonly _tag: "Found"; readonly value: A } | Unregistered | BadName | Away

export interface Gateway {
  readonly register: (schema: NewSchema) => Effect.Effect<Registered>
  /** Checks by the latest version, or by the one that is named. */
  readonly check: (subject: Subject, version: number | undefined, body: Body) => Ready<Checked>
  readonly get: (subject: Subject, version: number | undefined) => Effect.Effect<Found<SchemaVersion>>
  /** Oldest first. */
  readonly versions: (subject: Subject) => Effect.Effect<Found<ReadonlyArray<SchemaVersion>>>
  /** The latest version of each event of a client. */
  readonly list: (client: string) => Effect.Effect<Found<ReadonlyArray<SchemaVersion>>>
  readonly deprecate: (
    subject: Subject,
    version: number | undefined,
    deprecated: boolean
  ) => Effect.Effect<Found<SchemaVersion>>
}

/** Units: characters of `<client>.<event>`, as Kafka allows them for a topic. */
const nameMax = 249

/** How often a registration that others keep overtaking is tried. */
const triesMax = 5

/** Undefined when the two make a topic that can be told apart from all others; otherwise why not. */
export const nameProblem = ({ client, event }: Subject): string | undefined => {
  const ofClient = clientProblem(client)
  if (ofClient !== undefined) return ofClient
  if (!/^[A-Za-z0-9._-]+$/.test(event)) return "the event's name may have letters, digits and . _ - only"
  // As a part of a path they mean another path.
  if (event === "." || event === "..") return "the event's name may not be . or .."
  if (client.length + 1 + event.length > nameMax) return `<client>.<event> may have ${nameMax} characters`
  return undefined
}

const clientProblem = (client: string): string | undefined => {
  if (!/^[A-Za-z0-9_-]+$/.test(client)) return "the client's name may have letters, digits and _ - only, and no dot"
  return client.length > nameMax - 2 ? `<client>.<event> may have ${nameMax} characters` : undefined
}

export const make: Effect.Effect<Gateway, never, SchemaLanguages | SchemaRegistry | Scope.Scope> = Effect.gen(
  function* () {
    const registry = yield* SchemaRegistry
    const languages = yield* SchemaLanguages
    const schemas = yield* GatewaySchemas.make(registry, languages)
    const clock = yield* Clock.Clock
    const patience = new GatewayPatience()
    /** Units: milliseconds for which the client has to wait; 0 when it need not. */
    const waitOf = ({ client }: Subject): number => patience.wait(client, clock.currentTimeMillisUnsafe())
    const begin = ({ client }: Subject): (() => void) => {
      const begun = clock.currentTimeMillisUnsafe()
      return () => {
        const now = clock.currentTimeMillisUnsafe()
        patience.spent(client, now - begun, now)
      }
    }
    /** Checks are work of the one thread there is, of which each client has its share. */
    const checkFairly = (subject: Subject, version: number | undefined, body: Body): Ready<Checked> => {
      const reason = nameProblem(subject)
      if (reason !== undefined) return { _tag: "BadName", reason }
      const wait = waitOf(subject)
      if (wait > 0) return tooSlow(wait)
      return check(schemas, subject, version, body, (validate) => {
        const end = begin(subject)
        const violations = validate()
        end()
        return violations
      })
    }
    /** So are schemas. */
    const judgeFairly: Judge = (older, newer) =>
      Effect.suspend(() => {
        const wait = waitOf(newer)
        if (wait > 0) return Effect.succeed(tooSlow(wait))
        const end = begin(newer)
        return Effect.ensuring(judge(languages, older, newer), Effect.sync(end))
      })
    const get = (subject: Subject, version: number | undefined) =>
      Effect.map(
        version === undefined ? registry.latest(subject) : registry.get(subject, version),
        (found): Found<SchemaVersion> => (Option.isSome(found) ? isFound(found.value) : unregistered(subject, version))
      )
    return {
      register: (schema) =>
        named(
          schema,
          Effect.catchTag(register(registry, judgeFairly, schemas.note, schema, 1), "SchemaRegistryError", away)
        ),
      check: checkFairly,
      get: (subject, version) => named(subject, orAway(get(subject, version))),
      versions: (subject) =>
        named(
          subject,
          orAway(
            Effect.map(registry.versions(subject), (versions) =>
              versions.length === 0 ? unregistered(subject, undefined) : isFound(versions)
            )
          )
        ),
      list: (client) => {
        const reason = clientProblem(client)
        if (reason !== undefined) return Effect.succeed({ _tag: "BadName", reason })
        return orAway(Effect.map(registry.list(client), isFound))
      },
      deprecate: (subject, version, deprecated) =>
        named(
          subject,
          orAway(
            Effect.gen(function* () {
              const found = yield* get(subject, version)
              if (found._tag !== "Found") return found
              yield* registry.deprecate(subject, found.value.version, deprecated)
              const marked = yield* get(subject, found.value.version)
              const last = yield* registry.latest(subject)
              if (Option.isSome(last)) schemas.note(last.value)
              return marked
            })
          )
        )
    }
  }
)

const register = (
  registry: SchemaRegistry["Service"],
  judge: Judge,
  note: (version: SchemaVersion) => void,
  schema: NewSchema,
  tries: number
): Effect.Effect<Registered, SchemaRegistryError> =>
  Effect.gen(function* () {
    const latest = Option.getOrUndefined(yield* registry.latest(schema))
    if (latest !== undefined && schema.once === true) return exists
    const { client, event, type } = schema
    const compatibility = schema.compatibility ?? latest?.compatibility ?? "none"
    const next: NewVersion = { client, event, type, schema: schema.schema, compatibility }
    if (latest !== undefined && isSame(latest, next)) return { _tag: "Unchanged", version: latest } as const
    const problem = yield* judge(latest, next)
    if (problem !== undefined) return problem
    const added = yield* Effect.result(registry.add(next, latest?.version ?? 0))
    if (Result.isSuccess(added)) {
      note(added.success)
      return { _tag: "Registered", version: added.success } as const
    }
    if (added.failure instanceof SchemaRegistryError) return yield* added.failure
    if (added.failure instanceof NameTaken) return nameTaken(schema)
    if (schema.once === true) return exists
    if (tries < triesMax) return yield* register(registry, judge, note, schema, tries + 1)
    return { _tag: "Away", reason: "others keep registering this event at the same time", retryable: true } as const
  })

type Judge = (older: SchemaVersion | undefined, newer: NewVersion) => Effect.Effect<Registered | undefined>

/** Why a version cannot be registered; undefined when it can. */
const judge = (
  languages: SchemaLanguages["Service"],
  older: SchemaVersion | undefined,
  newer: NewVersion
): Effect.Effect<Registered | undefined> =>
  Effect.gen(function* () {
    yield* languages.of(newer.type).compile(newer.schema)
    if (older === undefined) return undefined
    const reasons = yield* conflicts(languages, older, newer)
    return reasons.length === 0 ? undefined : ({ _tag: "Conflict", latest: older.version, reasons } as const)
  }).pipe(Effect.catchTag("SchemaInvalid", ({ reason }) => Effect.succeed({ _tag: "Invalid", reason } as const)))

/** What keeps a version from following the one before it: by the rule that one set, and by its own. */
const conflicts = (
  languages: SchemaLanguages["Service"],
  older: SchemaVersion,
  newer: NewVersion
): Effect.Effect<ReadonlyArray<string>, SchemaInvalid> => {
  const rule = stricter(older.compatibility, newer.compatibility)
  if (rule === "none") return Effect.succeed([])
  if (older.type !== newer.type) {
    return Effect.succeed([`version ${older.version} is ${older.type}, and this one ${newer.type}`])
  }
  return languages.of(newer.type).conflicts(rule, older.schema, newer.schema)
}

/** What holds when both must. */
const stricter = (a: Compatibility, b: Compatibility): Compatibility => {
  if (a === "none" || a === b) return b
  return b === "none" ? a : "full"
}

const check = (
  schemas: GatewaySchemas.GatewaySchemas,
  subject: Subject,
  version: number | undefined,
  body: Body,
  timed: (validate: () => ReadonlyArray<Violation>) => ReadonlyArray<Violation>
): Ready<Checked> => {
  const checked = (found: GatewaySchemas.Usable | undefined): Checked => {
    if (found === undefined) return unregistered(subject, version)
    const { validator, version: used } = found
    let value: unknown
    if (body._tag === "Value") value = body.value
    else {
      const read = validator.decode?.(body.bytes) ?? Result.fail(`an event of ${used.type} is to be sent as JSON`)
      if (Result.isFailure(read)) return { _tag: "Unreadable", version: used, reason: read.failure }
      value = read.success
    }
    const violations = timed(() => validator.check(value))
    if (violations.length > 0) return { _tag: "Violations", version: used, violations }
    return { _tag: "Valid", version: used, value }
  }
  const found = schemas.of(subject, version)
  if (!isLater(found)) return checked(found)
  return Effect.catch(Effect.map(found, checked), (error) =>
    error instanceof SchemaInvalid ? Effect.succeed<Checked>({ _tag: "Invalid", reason: error.reason }) : away(error)
  )
}

const named = <A>(subject: Subject, then: Effect.Effect<A>): Effect.Effect<A | BadName> => {
  const reason = nameProblem(subject)
  return reason === undefined ? then : Effect.succeed({ _tag: "BadName", reason })
}

const isSame = (latest: SchemaVersion, { compatibility, schema, type }: NewVersion): boolean =>
  latest.schema === schema && latest.type === type && latest.compatibility === compatibility

const exists = { _tag: "Exists", reason: "the event is registered already" } as const

/** Whose the other is, is not theirs to know. */
const nameTaken = ({ client, event }: Subject): Registered => ({
  _tag: "NameTaken",
  reason: `the name ${client}.${event} is taken: another event has it up to . and _, which count as the same in a topic's name`
})

const isFound = <A>(value: A): Found<A> => ({ _tag: "Found", value })

const unregistered = ({ client, event }: Subject, version: number | undefined): Unregistered => ({
  _tag: "Unregistered",
  reason: `${client}.${event} is not registered${version === undefined ? "" : ` with a version ${version}`}`
})

const away = ({ reason, retryable }: SchemaRegistryError): Effect.Effect<Away> =>
  Effect.succeed({ _tag: "Away", reason, retryable })

const tooSlow = (waitMillis: number): Away => {
  const told = `this client's schemas and events take long to check: come again in ${Math.ceil(waitMillis / 1000)} s`
  return { _tag: "Away", reason: told, retryable: true, told }
}

const orAway = <A>(effect: Effect.Effect<Found<A>, SchemaRegistryError>): Effect.Effect<Found<A>> =>
  Effect.catch(effect, away)
