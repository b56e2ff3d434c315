/** Keeps the schemas that are in use compiled: a new version of somebody else counts within a second. */
import { Clock, Deferred, Effect, Option, type Scope } from "effect"
import { andThen, type Ready } from "../services/Ready.ts"
import type { SchemaInvalid, SchemaLanguages, Validator } from "../services/SchemaLanguage.ts"
import {
  type SchemaRegistry,
  SchemaRegistryError,
  type SchemaVersion,
  type Subject
} from "../services/SchemaRegistry.ts"

/** A version and what checks values by it. */
export interface Usable {
  readonly version: SchemaVersion
  readonly validator: Validator
}

export interface GatewaySchemas {
  /** Undefined when nothing is registered. Fails: `SchemaInvalid` when what was registered cannot be used here. */
  readonly of: (subject: Subject, version: number | undefined) => Ready<Usable | undefined, UseError>
  /** What we have just registered or marked is the latest from here on. */
  readonly note: (version: SchemaVersion) => void
}

export type UseError = SchemaInvalid | SchemaRegistryError

/** Units: milliseconds for which the latest version is believed to be the latest. */
const freshMillis = 1_000
/** Units: versions; characters of their schemas. What is kept compiled; the longest unused goes first. */
const keptMax = 1024
const keptCharsMax = 8 * 1024 * 1024

interface Latest {
  readonly version: SchemaVersion
  readonly until: number
}

export const make = Effect.fnUntraced(function* (
  registry: SchemaRegistry["Service"],
  languages: SchemaLanguages["Service"]
) {
  const clock = yield* Clock.Clock
  const scope = yield* Effect.scope
  const latest = new Map<string, Latest>()
  const loading = new Map<string, Deferred.Deferred<Option.Option<SchemaVersion>, SchemaRegistryError>>()
  const compiled = new Compiled()
  let closed = false
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      closed = true
    })
  )

  const note = (version: SchemaVersion): void => {
    const name = nameOf(version)
    const known = latest.get(name)
    if (known !== undefined && known.version.version > version.version) return
    latest.delete(name)
    latest.set(name, { version, until: clock.currentTimeMillisUnsafe() + freshMillis })
    if (latest.size > keptMax) latest.delete(latest.keys().next().value!)
  }

  /** One question to the registry, however many ask at the same time; it is not theirs to interrupt. */
  const load = (subject: Subject): Effect.Effect<Option.Option<SchemaVersion>, SchemaRegistryError> =>
    Effect.suspend(() => {
      // Its scope runs nothing any more.
      if (closed) return Effect.fail(new SchemaRegistryError({ reason: "the gateway has stopped", retryable: true }))
      const name = nameOf(subject)
      const asked = loading.get(name)
      if (asked !== undefined) return Deferred.await(asked)
      const answer = Deferred.makeUnsafe<Option.Option<SchemaVersion>, SchemaRegistryError>()
      loading.set(name, answer)
      return registry.latest(subject).pipe(
        Effect.tap((found) => Effect.sync(() => Option.isSome(found) && note(found.value))),
        Effect.onExit((exit) => {
          loading.delete(name)
          return Deferred.done(answer, exit)
        }),
        Effect.exit,
        Effect.forkIn(scope, { startImmediately: true }),
        Effect.andThen(Deferred.await(answer))
      )
    })

  const latestOf = (subject: Subject): Ready<SchemaVersion | undefined, SchemaRegistryError> => {
    const known = latest.get(nameOf(subject))
    if (known !== undefined && known.until > clock.currentTimeMillisUnsafe()) return known.version
    return Effect.map(load(subject), Option.getOrUndefined)
  }

  const use = (version: SchemaVersion): Ready<Usable, SchemaInvalid> => {
    const known = compiled.get(version)
    if (known !== undefined) return { version, validator: known }
    return Effect.map(languages.of(version.type).compile(version.schema), (validator) => {
      compiled.set(version, validator)
      return { version, validator }
    })
  }

  const schemas: GatewaySchemas = {
    note,
    of: (subject, version) =>
      andThen(
        version === undefined
          ? latestOf(subject)
          : Effect.map(registry.get(subject, version), Option.getOrUndefined<SchemaVersion>),
        (found): Ready<Usable | undefined, SchemaInvalid> => (found === undefined ? undefined : use(found))
      )
  }
  return schemas
}) satisfies (...args: never) => Effect.Effect<GatewaySchemas, never, Scope.Scope>

/** Validators by their versions, bounded by count and size. */
class Compiled {
  private readonly kept = new Map<string, { readonly validator: Validator; readonly chars: number }>()
  private chars = 0

  get(version: SchemaVersion): Validator | undefined {
    const key = `${nameOf(version)}@${version.version}`
    const found = this.kept.get(key)
    if (found === undefined) return undefined
    this.kept.delete(key)
    this.kept.set(key, found)
    return found.validator
  }

  set(version: SchemaVersion, validator: Validator): void {
    const key = `${nameOf(version)}@${version.version}`
    const chars = version.schema.length
    this.remove(key)
    this.kept.set(key, { validator, chars })
    this.chars += chars
    while (this.kept.size > keptMax || (this.chars > keptCharsMax && this.kept.size > 1)) {
      this.remove(this.kept.keys().next().value!)
    }
  }

  private remove(key: string): void {
    this.chars -= this.kept.get(key)?.chars ?? 0
    this.kept.delete(key)
  }
}

/** A client's name has no dot. */
const nameOf = ({ client, event }: Subject): string => `${client}.${event}`
