/** Fills the placeholders of a text with what is at their paths, such as {{payload.name}}. */
import { Result } from "effect"
import * as Path from "./Path.ts"

export interface Placeholders {
  readonly text: string
  /** There is no placeholder: it fills to its own text. */
  readonly isPlain: boolean
  /** Fails: with the first path at which there is no text, number or boolean. */
  readonly fill: (from: Path.From) => Result.Result<string, string>
}

const everywhere: ReadonlyArray<Path.Root> = ["payload", "envelope", "event"]

/** Compiles a text once. Fails: with a sentence that says what is wrong with it. */
export const compile = (text: string, roots = everywhere): Result.Result<Placeholders, string> => {
  const parts: Array<string | Path.Path> = []
  for (const [i, part] of text.split(/\{\{([^{}]*)\}\}/).entries()) {
    if (i % 2 === 0) {
      if (part.includes("{{")) return Result.fail(`a path in each {{...}}, such as {{${example(roots)}}}`)
      parts.push(part)
      continue
    }
    const path = Path.compile(part.trim(), roots)
    if (Result.isFailure(path)) return Result.fail(`in {{${part}}} ${path.failure}`)
    parts.push(path.success)
  }
  return Result.succeed({ text, isPlain: parts.length === 1, fill: (from) => fill(parts, from) })
}

const example = (roots: ReadonlyArray<Path.Root>): string =>
  roots.includes("payload") ? "payload.name" : "envelope.key"

const fill = (parts: ReadonlyArray<string | Path.Path>, from: Path.From): Result.Result<string, string> => {
  let filled = ""
  for (const part of parts) {
    const text = typeof part === "string" ? part : Path.asKey(part.read(from))
    if (text === undefined) return Result.fail((part as Path.Path).text)
    filled += text
  }
  return Result.succeed(filled)
}
