/** Walks through a predecessor's config, and keeps what is found on the way: problems, warnings, and what came from where. */
import type { Problem } from "../services/Component.ts"
import { ConfigError, type ConfigFile, type Finding, nearest } from "./ConfigFile.ts"

export type Place = ReadonlyArray<string | number>

/** A config in our words, whose findings still show the places in the text as it was written. */
export interface Translated extends ConfigFile {
  readonly warnings: ReadonlyArray<Finding>
}

/** A map of the config, with what `<<` brings into it. */
export interface Part {
  readonly value: Readonly<Record<string, unknown>>
  readonly path: Place
  /** Where a key stands, or would stand. */
  readonly at: (key: string) => Place
}

export class Translation {
  readonly problems: Array<Problem> = []
  readonly warnings: Array<Finding> = []
  private readonly places = new Map<string, { readonly path: Place; readonly whole: boolean }>()
  private readonly file: ConfigFile
  private readonly lines: ReadonlyArray<string>
  /** Whose config it is, in words. */
  private readonly whose: string

  constructor(file: ConfigFile, text: string, whose: string) {
    this.file = file
    this.lines = text.split("\n")
    this.whose = whose
  }

  /** What was found on the way, or the config in our words. */
  end(value: unknown): Translated | ConfigError {
    const { file, problems, warnings } = this
    if (problems.length > 0) return new ConfigError({ findings: problems.map(file.finding) })
    const finding = (problem: Problem): Finding => file.finding({ ...problem, path: this.original(problem.path) })
    return { ...file, value, finding, warnings }
  }

  problem(path: Place, expected: string, found: unknown, words?: ReadonlyArray<string>): undefined {
    this.problems.push({ path, expected, found, words })
  }

  /** Words are put down as they are: they must not be secret. */
  warn(path: Place, message: string): void {
    const { hide } = this.file
    this.warnings.push({ ...this.file.finding({ path, expected: "", found: path.at(-1) }), message: hide(message) })
  }

  // -------------------------------------------------------------------------------------------------- places

  /** What stands at a path of ours came from `path`; `whole` when what is within it came along as it was. */
  place(ours: Place, path: Place, whole = false): void {
    this.places.set(JSON.stringify(ours), { path, whole })
  }

  /** Where in the file a path of ours came from. */
  original(ours: Place): Place {
    for (let steps = ours.length; steps > 0; steps--) {
      const place = this.places.get(JSON.stringify(ours.slice(0, steps)))
      if (place !== undefined) return place.whole ? [...place.path, ...ours.slice(steps)] : place.path
    }
    return []
  }

  // -------------------------------------------------------------------------------------------------- values

  /** A map; keys that are not among `known` are ignored, with a warning. */
  part(value: unknown, path: Place, known?: ReadonlyArray<string>): Part | undefined {
    if (!isMap(value)) return this.problem(path, "a map", value)
    const brought = isMap(value["<<"]) ? [value["<<"]] : Array.isArray(value["<<"]) ? value["<<"].filter(isMap) : []
    const merged = Object.fromEntries([...brought.toReversed(), value].flatMap(Object.entries))
    delete merged["<<"]
    const at = (key: string): Place =>
      Object.hasOwn(value, key) || !Object.hasOwn(merged, key) ? [...path, key] : [...path, "<<"]
    const part: Part = { value: merged, path, at }
    for (const key of known === undefined ? [] : Object.keys(merged)) {
      if (known!.includes(key)) continue
      const near = nearest(key, known!)
      this.warn(
        at(key),
        `is no key of ${this.whose}, and has no effect${near === undefined ? "" : ` (did you mean ${near}?)`}`
      )
    }
    return part
  }

  required(part: Part, key: string, expected: string, known?: ReadonlyArray<string>): Part | undefined {
    return isThere(part.value[key])
      ? this.part(part.value[key], part.at(key), known)
      : this.missing(part, key, expected)
  }

  optional(part: Part, key: string, known?: ReadonlyArray<string>): Part | undefined {
    return isThere(part.value[key]) ? this.part(part.value[key], part.at(key), known) : undefined
  }

  requiredText(part: Part, key: string, expected: string): string | undefined {
    const text = this.text(part, key)
    if (text !== undefined && text !== "") return text
    return isMap(part.value[key]) || Array.isArray(part.value[key]) ? undefined : this.missing(part, key, expected)
  }

  /** A scalar as it is written: a predecessor's YAML reads numbers and truths as text where it wants text. */
  text(part: Part, key: string): string | undefined {
    const value = part.value[key]
    if (typeof value === "string") return value
    if (!isThere(value)) return undefined
    if (typeof value === "object") {
      if (!this.problems.some(({ path }) => path.join() === part.at(key).join())) {
        this.problem(part.at(key), "text", value)
      }
      return undefined
    }
    const { column, line } = this.file.finding({ path: part.at(key), expected: "", found: undefined })
    const written = /^[^\s,[\]{}#]+/.exec(this.lines[line - 1]?.slice(column - 1) ?? "")?.[0]
    const isSame = typeof value === "boolean" ? written?.toLowerCase() === `${value}` : Number(written) === value
    return written !== undefined && isSame ? written : String(value)
  }

  /** Options that are ours already. */
  passed(part: Part | undefined, keys: ReadonlyArray<string>, at: Place): Readonly<Record<string, unknown>> {
    if (part === undefined) return {}
    const given = keys.filter((key) => isThere(part.value[key]))
    for (const key of given) this.place([...at, key], part.at(key), true)
    return Object.fromEntries(given.map((key) => [key, part.value[key]]))
  }

  /** A key that is nearly the missing one is where the mistake is. */
  private missing(part: Part, key: string, expected: string): undefined {
    const near = Object.keys(part.value).find((other) => other !== key && nearest(other, [key]) === key)
    const misspelt = near !== undefined && this.warnings.some(({ path }) => path === part.at(near).join("."))
    if (misspelt) return this.problem(part.at(near), `the key ${key}`, near)
    return this.problem(part.at(key), expected, undefined)
  }
}

const isThere = (value: unknown): boolean => value !== undefined && value !== null

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** The characters that names of pipelines have not. */
const otherCharacters = /[^\p{L}\p{N} ._/-]/gu

/** What a name has to be changed to for a pipeline; empty when nothing is left of it. */
export const pipelineName = (written: string): string =>
  written.replaceAll(otherCharacters, "-").replace(/^[^\p{L}\p{N}_]+/u, "")

/** A name that nobody has yet. */
export const free = (name: string, taken: ReadonlySet<string>): string => {
  for (let n = 1; ; n++) {
    const one = n === 1 ? name : `${name}.${n}`
    if (!taken.has(one)) return one
  }
}
