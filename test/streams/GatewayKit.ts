/** What the gateway's tests stand on: a registry in memory that can be away, and plain languages. */
import type { AnySchema } from "ajv"
import { Ajv2020 } from "ajv/dist/2020.js"
import { Effect, Layer, Option, Result } from "effect"
import { topicOf } from "../../src/layers/SchemaRegistryLimits.ts"
import { SchemaInvalid, type SchemaLanguage, SchemaLanguages } from "../../src/services/SchemaLanguage.ts"
import {
  NameTaken,
  SchemaConflict,
  SchemaRegistry,
  SchemaRegistryError,
  type SchemaVersion,
  type Subject
} from "../../src/services/SchemaRegistry.ts"

/** What a test may do to the registry. */
export interface Control {
  readonly stored: Array<SchemaVersion>
  /** Questions asked so far. */
  asked: number
  away: boolean
  /** Waited for by each question. */
  gate: Effect.Effect<void>
  /** Done before a version is added, such as by somebody else. */
  before: () => void
}

export const registry = () => {
  const control: Control = { stored: [], asked: 0, away: false, gate: Effect.void, before: () => {} }
  const of = ({ client, event }: Subject) =>
    control.stored.filter((one) => one.client === client && one.event === event)
  const answer = <A, E = never>(read: () => Effect.Effect<A, E>): Effect.Effect<A, E | SchemaRegistryError> =>
    Effect.andThen(
      Effect.suspend(() => {
        control.asked++
        return control.gate
      }),
      Effect.suspend(
        (): Effect.Effect<A, E | SchemaRegistryError> =>
          control.away
            ? Effect.fail(new SchemaRegistryError({ reason: "postgres://secret@db is away", retryable: true }))
            : read()
      )
    )
  const service = SchemaRegistry.of({
    add: (version, latest) =>
      answer((): Effect.Effect<SchemaVersion, NameTaken | SchemaConflict> => {
        control.before()
        const last = of(version).at(-1)?.version ?? 0
        if (last !== latest) return Effect.fail(new SchemaConflict({ latest: last }))
        const topic = topicOf(version)
        if (last === 0 && control.stored.some((one) => topicOf(one) === topic)) return Effect.fail(new NameTaken())
        const stored: SchemaVersion = { ...version, version: last + 1, deprecated: false, registeredAt: 0 }
        control.stored.push(stored)
        return Effect.succeed(stored)
      }),
    latest: (subject) => answer(() => Effect.succeed(Option.fromNullishOr(of(subject).at(-1)))),
    get: (subject, version) =>
      answer(() => Effect.succeed(Option.fromNullishOr(of(subject).find((one) => one.version === version)))),
    versions: (subject) => answer(() => Effect.succeed(of(subject))),
    list: (client) =>
      answer(() => {
        const latest = new Map<string, SchemaVersion>()
        for (const one of control.stored) if (one.client === client) latest.set(one.event, one)
        return Effect.succeed([...latest.values()].sort((a, b) => (a.event < b.event ? -1 : 1)))
      }),
    deprecate: (subject, version, deprecated) =>
      answer(() => {
        const at = control.stored.findIndex((one) => one === of(subject).find((each) => each.version === version))
        if (at >= 0) control.stored[at] = { ...control.stored[at]!, deprecated }
        return Effect.succeed(at >= 0)
      })
  })
  return { control, service }
}

/** A plain validator; by the rules, nothing may be required that was not, or no longer be that was. */
const json: SchemaLanguage = {
  type: "json",
  compile: (schema) =>
    Effect.try({
      try: () =>
        new Ajv2020({ allErrors: true, strict: false, logger: false, ownProperties: true }).compile(
          JSON.parse(schema) as AnySchema
        ),
      catch: (error) => new SchemaInvalid({ reason: (error as Error).message })
    }).pipe(
      Effect.map((validate) => ({
        check: (value: unknown) =>
          validate(value)
            ? []
            : validate.errors!.map(({ instancePath, message }) => ({
                path: `payload${instancePath.replaceAll("/", ".")}`,
                message: message!
              }))
      }))
    ),
  conflicts: (rule, older, newer) =>
    Effect.sync(() => {
      const required = (text: string): ReadonlyArray<string> => JSON.parse(text).required ?? []
      const added = required(newer).filter((name) => !required(older).includes(name))
      const gone = required(older).filter((name) => !required(newer).includes(name))
      return [
        ...(rule === "forward" ? [] : added.map((name) => `${name} is required now`)),
        ...(rule === "backward" ? [] : gone.map((name) => `${name} is no longer required`))
      ]
    })
}

/** A language with bytes of its own: each is a number from 0 to 99. */
const bytes: SchemaLanguage = {
  type: "avro",
  compile: () =>
    Effect.succeed({
      check: (value) =>
        typeof value === "number" && value < 100 ? [] : [{ path: "payload", message: "is too large" }],
      decode: (bytes) => (bytes.length === 1 ? Result.succeed(bytes[0]) : Result.fail("not one byte"))
    }),
  conflicts: () => Effect.succeed([])
}

export const languages = Layer.succeed(SchemaLanguages, { of: (type) => (type === "avro" ? bytes : json) })
