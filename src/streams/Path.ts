/** Reads a value from a message by its path, such as `payload.customer.id` or `envelope.headers.x-tenant`. */
import { Result } from "effect"
import * as Envelope from "../services/Envelope.ts"
import type { Detection, Event } from "../services/Event.ts"
import type * as Reply from "../services/Reply.ts"

/** What there is to read from: always an event; a detection once one is found; a reply once a leg has answered. */
export interface From {
  readonly event: Event
  readonly detection?: Detection | undefined
  readonly reply?: Reply.Reply | undefined
}

export interface Path {
  readonly text: string
  readonly root: Root
  /** Undefined when there is nothing at the path. */
  readonly read: (from: From) => unknown
}

const roots = ["payload", "envelope", "event", "reply"] as const
export type Root = (typeof roots)[number]

const envelopeFields = ["id", "key", "headers", "source", "receivedAt", "attempt"]

/**
 * Compiles a path once. Only own properties count; a number indexes an array.
 *
 * Fails: with a sentence that says what is wrong with the text.
 */
export const compile = (text: string, allowed: ReadonlyArray<Root> = roots): Result.Result<Path, string> => {
  const steps = text.split(".")
  const root = steps[0] as Root
  if (!allowed.includes(root)) return Result.fail(`a path that starts at ${list(allowed)}`)
  if (steps.some((step) => step === "")) return Result.fail("a path without empty steps, such as payload.customer.id")
  const rest = steps.slice(1)
  if (root === "envelope" && (rest.length === 0 || !envelopeFields.includes(rest[0]!)))
    return Result.fail(`one of ${envelopeFields.map((_) => `envelope.${_}`).join(", ")}`)
  if (root === "event" && rest.length > 0) return Result.fail("the path event, which is the name of the detected event")
  return Result.succeed({ text, root, read: reader(root, rest) })
}

const reader = (root: Root, steps: ReadonlyArray<string>): Path["read"] => {
  switch (root) {
    case "payload": {
      const [first, second] = steps
      if (first === undefined) return ({ event }) => event.payload
      if (second === undefined) return ({ event }) => own(event.payload, first)
      return ({ event }) => follow(event.payload, steps)
    }
    case "event":
      return ({ detection }) => detection?.name
    case "envelope":
      if (steps[0] === "headers" && steps.length > 1) {
        const name = steps.slice(1).join(".")
        return ({ event }) => Envelope.header(event.envelope, name)
      }
      if (steps[0] === "key") return ({ event }) => event.key
      return ({ event }) => follow(event.envelope, steps)
    case "reply":
      if (steps[0] === "payload" && steps.length > 1) {
        const rest = steps.slice(1)
        return ({ reply }) => reply && follow(parsed(reply.payload), rest)
      }
      return ({ reply }) => (steps.length === 0 ? reply?.payload : follow(reply, steps))
  }
}

/** A field of a path into a plain value; own properties only, so that a payload cannot name inherited ones. */
export const own = (value: unknown, step: string): unknown =>
  typeof value === "object" && value !== null && Object.hasOwn(value, step)
    ? (value as Record<string, unknown>)[step]
    : undefined

export const follow = (value: unknown, steps: ReadonlyArray<string>): unknown => {
  let at = value
  for (let i = 0; i < steps.length && at !== undefined; i++) at = own(at, steps[i]!)
  return at
}

/** A reply's body as a value: JSON where it is JSON, otherwise as it is. */
export const parsed = (payload: unknown): unknown => {
  if (!(payload instanceof Uint8Array) && typeof payload !== "string") return payload
  return parse(payload instanceof Uint8Array ? new TextDecoder().decode(payload) : payload)
}

const parse = (text: string): unknown => {
  const parsed = Result.try(() => JSON.parse(text))
  return Result.isSuccess(parsed) ? parsed.success : text
}

/** A value as a key: strings, numbers and booleans have one. */
export const asKey = (value: unknown): string | undefined =>
  typeof value === "string" ? value : typeof value === "number" || typeof value === "boolean" ? `${value}` : undefined

const list = (words: ReadonlyArray<string>): string =>
  words.length === 1 ? words[0]! : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`
