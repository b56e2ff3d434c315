/** Schemas in memory: for tests, and the reference of what a store does. */
import { Clock, Effect, Layer, Option } from "effect"
import {
  NameTaken,
  SchemaConflict,
  SchemaRegistry,
  type SchemaVersion,
  type Subject
} from "../services/SchemaRegistry.ts"
import { limited, topicOf } from "./SchemaRegistryLimits.ts"

export const make = (): SchemaRegistry["Service"] => {
  const subjects = new Map<string, ReadonlyArray<SchemaVersion>>()
  const topics = new Set<string>()
  const keyOf = ({ client, event }: Subject): string => JSON.stringify([client, event])
  const versionsOf = (subject: Subject) => subjects.get(keyOf(subject)) ?? []
  return limited({
    add: Effect.fnUntraced(function* ({ client, compatibility, event, schema, type }, latest) {
      const registeredAt = yield* Clock.currentTimeMillis
      const known = versionsOf({ client, event })
      if (known.length !== latest) return yield* new SchemaConflict({ latest: known.length })
      const topic = topicOf({ client, event })
      if (latest === 0 && topics.has(topic)) return yield* new NameTaken()
      topics.add(topic)
      const version = latest + 1
      const added = { client, event, version, type, schema, compatibility, deprecated: false, registeredAt }
      subjects.set(keyOf(added), [...known, added])
      return added
    }),
    latest: (subject) => Effect.sync(() => Option.fromUndefinedOr(versionsOf(subject).at(-1))),
    get: (subject, version) => Effect.sync(() => Option.fromUndefinedOr(versionsOf(subject)[version - 1])),
    versions: (subject) => Effect.sync(() => versionsOf(subject)),
    list: (client) =>
      Effect.sync(() =>
        [...subjects.values()]
          .map((versions) => versions.at(-1)!)
          .filter((one) => one.client === client)
          .sort((a, b) => byCodePoints(a.event, b.event))
      ),
    deprecate: (subject, version, deprecated) =>
      Effect.sync(() => {
        const known = versionsOf(subject)
        if (known[version - 1] === undefined) return false
        subjects.set(
          keyOf(subject),
          known.map((one) => (one.version === version ? { ...one, deprecated } : one))
        )
        return true
      })
  })
}

export const layer: Layer.Layer<SchemaRegistry> = Layer.sync(SchemaRegistry, make)

/** The order of UTF-8 bytes, as in the stores: JavaScript's own, of 16-bit units, puts U+10000 before U+FFFF. */
const byCodePoints = (a: string, b: string): number => {
  const [left, right] = [[...a], [...b]]
  const at = left.findIndex((character, i) => character !== right[i])
  if (at === -1) return left.length - right.length
  return right[at] === undefined ? 1 : left[at]!.codePointAt(0)! - right[at].codePointAt(0)!
}
