/** Reads a config file: YAML or JSON, with environment variables filled in, and every value's place in the text kept. */
import { Schema } from "effect"
import leven from "leven"
import {
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type Scalar,
  visit
} from "yaml"
import type { Problem } from "../services/Component.ts"
import { secretExpected } from "../services/Fields.ts"
import { oneLine } from "../streams/OneLine.ts"

/** One wrong place. */
export interface Finding {
  readonly file: string
  /** From 1. */
  readonly line: number
  readonly column: number
  /** Such as `pipelines.orders.source.rate`; empty for the file as a whole. */
  readonly path: string
  readonly message: string
}

/** The config cannot be used. Its message has one line for each wrong place. */
export class ConfigError extends Schema.TaggedError<ConfigError>()("ConfigError", {
  findings: Schema.Array(Schema.Any as Schema.Schema<Finding>)
}) {
  override get message(): string {
    return this.findings
      .map(
        ({ column, file, line, message, path }) =>
          `${file}:${line}:${column}: ${path === "" ? "" : `${path}: `}${message}`
      )
      .join("\n")
  }
}

export interface ConfigFile {
  readonly file: string
  readonly value: unknown
  /** Places a problem in the text and words it. */
  readonly finding: (problem: Problem) => Finding
  /** Puts variables back where their values stand in a text: what is logged or kept shows the text as written. */
  readonly hide: (text: string) => string
}

type Environment = Readonly<Record<string, string | undefined>>
type Place = ReadonlyArray<string | number>

/** What becomes of a variable that is not set and has no default: `keep` leaves it as it is written. */
export type Unset = "refuse" | "keep"

/** Fails: `ConfigError` for broken YAML, an unset variable without a default, a duplicate key. */
export const parse = (
  file: string,
  text: string,
  environment: Environment,
  whenUnset: Unset = "refuse"
): ConfigFile | ConfigError => {
  const taken = text.search(/[\ue000-\ue002]/)
  if (taken >= 0) {
    const before = text.slice(0, taken).split("\n")
    const message = "the characters U+E000 to U+E002 cannot be used here"
    const finding = { file, line: before.length, column: before.at(-1)!.length + 1, path: "", message }
    return new ConfigError({ findings: [finding] })
  }
  const masked = mask(text)
  const lines = new LineCounter()
  const document = tried(() =>
    parseDocument(masked.text, {
      lineCounter: lines,
      prettyErrors: false,
      strict: true,
      uniqueKeys: true
    })
  )
  if (document instanceof Error)
    return new ConfigError({ findings: [{ file, line: 1, column: 1, path: "", message: "nested too deep" }] })
  const at = (offset: number, path: Place, message: string): Finding => {
    const { col, line } = lines.linePos(offset)
    return { file, line, column: col, path: oneLine(path.join(".")), message: masked.written(message) }
  }
  const broken = document.errors.map(({ message, pos }) => at(pos[0], [], message.split("\n")[0]!))
  const asJson = broken.length > 0 && file.endsWith(".json") ? brokenJson(file, text) : undefined
  if (asJson !== undefined) return new ConfigError({ findings: [asJson] })
  if (broken.length > 0) return new ConfigError({ findings: broken })
  const unset: Array<Finding> = []
  fill(document.contents, masked, environment, (node, message) => unset.push(at(node.range?.[0] ?? 0, [], message)))
  if (unset.length > 0 && whenUnset === "refuse") return new ConfigError({ findings: unset })
  const value = tried(() => document.toJS({ maxAliasCount: 100 }))
  if (value instanceof Error) return new ConfigError({ findings: [at(0, [], value.message)] })
  const hide = hider(masked, environment)
  return {
    file,
    value,
    hide,
    finding: (problem) => {
      const { node, offset } = locate(document.contents, problem.path, problem.found === problem.path.at(-1))
      return at(offset, problem.path, sentence(problem, node, masked, hide))
    }
  }
}

/** JSON is YAML, but who writes JSON wants to read of JSON. */
const brokenJson = (file: string, text: string): Finding | undefined => {
  const error = tried(() => JSON.parse(text))
  if (!(error instanceof SyntaxError)) return undefined
  const [said = "", position] = error.message.split(/ at position (\d+).*$/s)
  const lines = text.slice(0, position === undefined ? text.length : Number(position)).split("\n")
  return { file, line: lines.length, column: lines.at(-1)!.length + 1, path: "", message: oneLine(said) }
}

/** Parser and decoder follow the nesting with the stack, which a hostile file can use up. */
const tried = <A>(read: () => A): A | Error => {
  try {
    return read()
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

// ---------------------------------------------------------------------------------------------------- variables

interface Masked {
  readonly text: string
  readonly variables: ReadonlyArray<Variable>
  /** Puts back what was written in the file. */
  readonly written: (text: string) => string
}

interface Variable {
  readonly raw: string
  /** Undefined when the text after `${` is no variable. */
  readonly name: string | undefined
  readonly fallback: string | undefined
}

const open = "\ue000"
const filler = "\ue001"
const close = "\ue002"
const firstIndex = 0xe100
const marks = /\ue000([\ue100-\uf8ff])\ue001*\ue002/g

/**
 * Replaces each `${...}` by as many characters that mean nothing to YAML, so that a variable may stand anywhere, also
 * within `{ }`, and places stay what they were. `$${` is a plain `${`.
 */
const mask = (text: string): Masked => {
  const variables: Array<Variable> = []
  const masked = text.replaceAll(/\$?\$\{([^}\n]*)\}/g, (raw, inner: string) => {
    if (variables.length >= 0xf8ff - firstIndex) return raw
    const read = /^([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/.exec(inner)
    variables.push({ raw, name: raw.startsWith("$$") ? undefined : (read?.[1] ?? ""), fallback: read?.[2] })
    return open + String.fromCharCode(firstIndex + variables.length - 1) + filler.repeat(raw.length - 3) + close
  })
  const of = (index: string): Variable => variables[index.charCodeAt(0) - firstIndex]!
  return { text: masked, variables, written: (text) => text.replaceAll(marks, (_, index) => of(index).raw) }
}

/** Fills variables into all texts of the document, and drops entries whose whole value is an empty variable. */
const fill = (
  contents: Node | null,
  masked: Masked,
  environment: Environment,
  onProblem: (node: Scalar, message: string) => void
): void => {
  visit(contents, {
    Pair: (_, pair) => {
      const { value } = pair as Pair<unknown, unknown>
      if (!isScalar(value) || typeof value.value !== "string" || !isOneVariable(value.value)) return undefined
      const filled = expand(value.value, masked, environment)
      return filled === "" ? visit.REMOVE : undefined
    },
    Scalar: (_, node) => {
      if (typeof node.value !== "string") return
      const filled = expand(node.value, masked, environment, (message) => onProblem(node, message))
      if (filled !== node.value) (node as Filled)[asWritten] = masked.written(node.value)
      node.value = filled
    }
  })
}

/** Shorter values stand in texts by chance. Units: characters. */
const hiddenMin = 4

const hider = ({ variables }: Masked, environment: Environment): ((text: string) => string) => {
  const values = variables.flatMap(({ name }) => {
    const value = name === undefined ? undefined : environment[name]
    if (value === undefined || value.length < hiddenMin) return []
    const spellings = [value, encodeURI(value), encodeURIComponent(value), value.toLowerCase()]
    return spellings.map((spelling) => [spelling, `\${${name}}`] as const)
  })
  const longestFirst = [...new Map(values)].sort(([a], [b]) => b.length - a.length)
  return (text) => longestFirst.reduce((shown, [value, name]) => shown.replaceAll(value, name), text)
}

const asWritten = Symbol("sluice/asWritten")
type Filled = Scalar & { [asWritten]?: string }

const isOneVariable = (text: string): boolean => text.replace(marks, "") === "" && text.startsWith(open)

const expand = (
  text: string,
  masked: Masked,
  environment: Environment,
  onProblem: (message: string) => void = () => {}
): string =>
  text.replaceAll(marks, (_, index: string) => {
    const { fallback, name, raw } = masked.variables[index.charCodeAt(0) - firstIndex]!
    if (name === undefined) return raw.slice(1)
    if (name === "") {
      onProblem(`expected \${NAME} or \${NAME:-default}, found ${raw} (a plain \${ is written $\${)`)
      return raw
    }
    const value = environment[name]
    if (value !== undefined && (value !== "" || fallback === undefined)) return value
    if (fallback !== undefined) return fallback
    onProblem(`the environment variable ${name} is not set and has no default (\${${name}:-default})`)
    return raw
  })

// ---------------------------------------------------------------------------------------------------- places

/** The node at a path, or the nearest above it that exists; a key's own place for what is wrong with the key. */
const locate = (
  contents: Node | null,
  path: Place,
  atKey: boolean
): { readonly node: Node | undefined; readonly offset: number } => {
  let node: Node | null | undefined = contents
  let offset = contents?.range?.[0] ?? 0
  for (const [i, step] of path.entries()) {
    if (isMap(node)) {
      const pair: Pair | undefined = node.items.find(
        (item) => isPair(item) && isScalar(item.key) && `${item.key.value}` === `${step}`
      )
      if (pair === undefined) return { node: undefined, offset }
      offset = (pair.key as Scalar).range?.[0] ?? offset
      node = pair.value as Node | null
      if (i === path.length - 1 && isScalar(node) && !atKey) offset = node.range?.[0] ?? offset
    } else if (isSeq(node)) {
      node = node.items[Number(step)] as Node | undefined
      offset = node?.range?.[0] ?? offset
    } else return { node: undefined, offset }
  }
  return { node: node ?? undefined, offset }
}

const sentence = (
  { expected, found, path, words }: Problem,
  node: Node | undefined,
  masked: Masked,
  hide: (text: string) => string
): string => {
  const written = (node as Filled | undefined)?.[asWritten]
  if (expected === secretExpected) return `expected ${expected}`
  const text = written === undefined ? shown(found) : oneLine(short(written))
  const near = words === undefined ? undefined : nearest(String(found ?? path.at(-1)), words)
  return masked.written(
    `expected ${hide(expected)}, found ${text}${near === undefined ? "" : ` (did you mean ${near}?)`}`
  )
}

/** The known word that is nearest to what was written, if any is near. */
export const nearest = (word: string, known: ReadonlyArray<string>): string | undefined => {
  const ranked = known
    .map((candidate) => ({ candidate, distance: leven(word.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)
  const best = ranked[0]
  return best !== undefined && best.distance <= Math.max(2, Math.floor(word.length / 3)) ? best.candidate : undefined
}

const shown = (value: unknown): string => {
  if (value === undefined || value === null) return "nothing"
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "a list" : "a map"
  return short((JSON.stringify(value) ?? String(value)).replaceAll(/:\/\/[^/\s"]*@/g, "://<credentials>@"))
}

/** Units: characters. */
const shownMax = 80

const short = (text: string): string => (text.length > shownMax ? `${text.slice(0, shownMax)}...` : text)
