/** What every registry holds and what none takes, so that all of them behave alike. */
import { Effect } from "effect"
import { type NewVersion, type SchemaRegistry, SchemaRegistryError, type Subject } from "../services/SchemaRegistry.ts"

/** Units: bytes of UTF-8, of a client's or an event's name. Both and a version fit into one entry of Postgres's index. */
export const nameBytesMax = 1024
/** Units: bytes of UTF-8. */
export const schemaBytesMax = 1024 * 1024
/** Postgres's integer. */
const versionMax = 2 ** 31 - 1

/** Refuses what not every store can hold, and finds nothing where nothing can be, without asking the store. */
export const limited = (store: SchemaRegistry["Service"]): SchemaRegistry["Service"] => ({
  add: (version, latest) => {
    const why = refusal(version)
    return why === undefined
      ? // No version is after one that cannot be: the store says which is the last.
        store.add(version, isVersion(latest) || latest === 0 ? latest : -1)
      : Effect.fail(new SchemaRegistryError({ reason: why, retryable: false }))
  },
  latest: (subject) => (isSubject(subject) ? store.latest(subject) : Effect.succeedNone),
  get: (subject, version) =>
    isSubject(subject) && isVersion(version) ? store.get(subject, version) : Effect.succeedNone,
  versions: (subject) => (isSubject(subject) ? store.versions(subject) : Effect.succeed([])),
  list: (client) => (isText(client) ? store.list(client) : Effect.succeed([])),
  deprecate: (subject, version, deprecated) =>
    isSubject(subject) && isVersion(version) ? store.deprecate(subject, version, deprecated) : Effect.succeed(false)
})

/**
 * What no two events may share: their topic, in which Kafka takes . and _ as the same.
 *
 * Source: https://github.com/apache/kafka/blob/trunk/clients/src/main/java/org/apache/kafka/common/internals/Topic.java
 */
export const topicOf = ({ client, event }: Subject): string => `${client}.${event}`.replaceAll(".", "_")

const isVersion = (version: number): boolean => Number.isInteger(version) && version > 0 && version < versionMax

const isSubject = ({ client, event }: Subject): boolean => isText(client) && isText(event)

/** Postgres has no NUL in texts, and UTF-8 has no half of a surrogate pair. */
const isText = (text: string): boolean => text.isWellFormed() && !text.includes("\0")

const refusal = ({ client, event, schema }: NewVersion): string | undefined =>
  wrongText("the client's name", client, nameBytesMax) ??
  wrongText("the event's name", event, nameBytesMax) ??
  wrongText("the schema", schema, schemaBytesMax)

const wrongText = (what: string, text: string, bytesMax: number): string | undefined => {
  if (text.includes("\0")) return `${what} holds the character U+0000, which cannot be stored`
  if (!text.isWellFormed()) return `${what} is not well-formed Unicode (it holds half of a surrogate pair)`
  // Three bytes at most for each unit, so that few texts are counted.
  if (text.length * 3 <= bytesMax || new TextEncoder().encode(text).length <= bytesMax) return undefined
  return `${what} is longer than ${bytesMax} bytes`
}
