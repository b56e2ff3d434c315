/** Fills the placeholders of a sample payload: {{n}}, {{uuid}} and {{now}}. */
import { DateTime } from "effect"

export interface Values {
  /** From 1. */
  readonly n: number
  /** Units: milliseconds since 1970. */
  readonly now: number
}

/** Text as it is, anything else as JSON; a value that is only `{{n}}` becomes the number. */
export const compile = (payload: unknown): ((values: Values) => string) => {
  const text = typeof payload === "string" ? payload : JSON.stringify(payload).replaceAll('"{{n}}"', "{{n}}")
  if (!text.includes("{{")) return () => text
  const parts = text.split(/(\{\{(?:n|uuid|now)\}\})/)
  return (values) => parts.map((part) => fill(part, values)).join("")
}

const fill = (part: string, { n, now }: Values): string => {
  switch (part) {
    case "{{n}}":
      return `${n}`
    case "{{uuid}}":
      return crypto.randomUUID()
    case "{{now}}":
      return DateTime.formatIso(DateTime.makeUnsafe(now))
    default:
      return part
  }
}
