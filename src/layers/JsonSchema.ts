/** Compiles a JSON Schema into a check that ends in time whatever the schema and the value are. */
import { Ajv, type Options as AjvOptions, type AnySchema, type ErrorObject } from "ajv"
import { Ajv2019 } from "ajv/dist/2019.js"
import { Ajv2020 } from "ajv/dist/2020.js"
import draft06 from "ajv/dist/refs/json-schema-draft-06.json" with { type: "json" }
import { Result } from "effect"
import type { Violation } from "../services/SchemaLanguage.ts"
import * as Draft from "./JsonSchemaDraft.ts"
import * as Evaluator from "./JsonSchemaEvaluator.ts"
import * as Formats from "./JsonSchemaFormats.ts"
import * as Keywords from "./JsonSchemaKeywords.ts"
import * as Resources from "./JsonSchemaResources.ts"
import * as Shape from "./JsonSchemaShape.ts"
import * as LinearRegExp from "./LinearRegExp.ts"
import * as TimeLimit from "./TimeLimit.ts"

export interface Options extends Shape.Limits, LinearRegExp.Limits {
  /** Of a schema without `$schema`. */
  readonly draft: Draft.Draft
  /** "asked": only in schemas that ask for it, and then a format that is not known is refused. */
  readonly formats: "asserted" | "asked"
  readonly compileMillis: number
  readonly checkMillis: number
  readonly violationsMax: number
}

export const defaults: Options = {
  draft: "draft-07",
  formats: "asked",
  depthMax: 100,
  valuesMax: 5_000,
  patternCharsMax: 1_000,
  instructionsMax: 20_000,
  compileMillis: 500,
  checkMillis: 250,
  violationsMax: 100
}

export type Check = (value: unknown) => ReadonlyArray<Violation>

/** The schema is changed: it must be the caller's own. Fails: with a sentence. */
export const compile = (schema: unknown, options: Options): Result.Result<Check, string> =>
  Result.flatMap(Draft.draftOf(schema, options.draft), (draft) =>
    Result.flatMap(
      TimeLimit.within(options.compileMillis, () => compileNow(schema, draft, options)),
      (compiled) => compiled
    )
  )

const compileNow = (schema: unknown, draft: Draft.Draft, options: Options): Result.Result<Check, string> => {
  const asked = Draft.assertsFormats(schema)
  const asserts = options.formats === "asserted" || asked
  const survey = () => {
    const sizes = LinearRegExp.make(options)
    return Shape.survey(schema, draft, options, (pattern) => sizes(pattern).size)
  }
  let shape = survey()
  const wrong = againstMeta(schema, draft)
  if (wrong !== undefined) return Result.fail(wrong)
  if (asked) {
    for (const format of shape.formats) {
      if (!Formats.known.has(format)) return Result.fail(`the format ${JSON.stringify(format)} cannot be asserted here`)
    }
  }
  // The formats' own expressions are not linear.
  const costly = asserts && shape.formats.size > 0
  const read = () => Resources.read(schema, draft, (id) => metas.get(draft)?.schemas[id]?.schema)
  let references = shape.named ? read() : undefined
  if (references?.dynamic === false) {
    Resources.settle(references)
    shape = survey()
    references = undefined
  }
  if (draft !== "draft-07" && (references !== undefined || Evaluator.needed(shape.words))) {
    const check = Evaluator.compile(schema, references ?? read(), {
      draft,
      expression: LinearRegExp.make(options),
      format: (name) => (asserts ? Formats.known.get(name) : undefined),
      unresolved: Shape.unresolved,
      violationsMax: options.violationsMax
    })
    const cost = costly ? Infinity : shape.cost * Evaluator.stepCost
    return Result.succeed(
      checkOf(
        check,
        () => check,
        () => check,
        cost,
        options
      )
    )
  }
  const validatorOf = (allErrors: boolean): Check => {
    const expressions = LinearRegExp.make(options)
    const ajv = ajvOf(draft, { allErrors, validateFormats: asserts, code: { regExp: Keywords.regExp(expressions) } })
    if (asserts) Formats.add(ajv)
    const validate: Validate = ajv.compile(schema as AnySchema)
    return (value) =>
      validate(value) === true ? [] : (validate.errors ?? []).slice(0, options.violationsMax).map(violation)
  }
  // To stop at the first violation the code is nested as deeply as there are keywords in a row.
  const quick = () => validatorOf(shape.values > nestedMax)
  try {
    const first = quick()
    return Result.succeed(checkOf(first, quick, () => validatorOf(true), costly ? Infinity : shape.cost, options))
  } catch (error) {
    const { missingRef } = error as { readonly missingRef?: string }
    if (missingRef !== undefined) return Result.fail(Shape.unresolved(missingRef))
    throw error
  }
}

const nestedMax = 1_000

type Validate = ((value: unknown) => unknown) & { errors?: null | ReadonlyArray<ErrorObject> }

/** Valid values meet a validator that stops at the first violation; only for the others all of them are looked for. */
const checkOf = (first: Check, quick: () => Check, all: () => Check, cost: number, options: Options): Check => {
  let ready: Check | undefined = first
  let every: Check | undefined
  return (value) => {
    const cheap = cost < Infinity && weigh(value, directMax / cost) * cost <= directMax
    const run = <A>(task: () => A) => (cheap ? TimeLimit.directly(task) : TimeLimit.within(options.checkMillis, task))
    const validator = ready === undefined ? TimeLimit.within(options.compileMillis, quick) : Result.succeed(ready)
    const found = Result.flatMap(validator, (validate) => run(() => validate(value)))
    // One that was ended in the middle is not used again.
    ready = Result.isSuccess(found) ? Result.getOrThrow(validator) : undefined
    if (Result.isFailure(found)) return [{ path: "payload", message: `could not be checked: it ${found.failure}` }]
    if (found.success.length === 0) return found.success
    const complete = TimeLimit.within(options.checkMillis, () => {
      const validate = every ?? all()
      every = undefined
      const violations = validate(value)
      every = validate
      return violations
    })
    return Result.isSuccess(complete) && complete.success.length > 0 ? complete.success : found.success
  }
}

/** Steps (each some 10 to 50 ns) that are done without a limit in time, which itself costs as much as 5,000 of them. */
const directMax = 500_000

/** Values and characters in a value; stops at `max`. */
const weigh = (value: unknown, max: number): number => {
  let weight = 0
  const open: Array<unknown> = [value]
  while (open.length > 0 && weight <= max) {
    const next = open.pop()
    weight += typeof next === "string" ? 1 + next.length : 1
    if (typeof next !== "object" || next === null) continue
    if (Array.isArray(next)) {
      if (next.length > max) return Infinity
      for (const item of next) open.push(item)
    } else {
      for (const key of Object.keys(next)) {
        weight += key.length
        open.push((next as Record<string, unknown>)[key])
      }
    }
  }
  return weight
}

const ajvOf = (draft: Draft.Draft, options: AjvOptions): Ajv => {
  const all: AjvOptions = {
    strict: false,
    ownProperties: true,
    logger: false,
    validateSchema: false,
    // Else a schema that is referred to often is written out as often.
    inlineRefs: false,
    ...(draft === "draft-07" ? { ignoreKeywordsWithRef: true } : {}),
    ...options
  }
  const ajv = new { "draft-07": Ajv, "2019-09": Ajv2019, "2020-12": Ajv2020 }[draft](all)
  if (draft === "draft-07") ajv.addMetaSchema(draft06)
  // What it would keep track of is never asked for, and it fails on `patternProperties` beside `anyOf` or `if`.
  ajv.opts.unevaluated = false
  Keywords.replace(ajv as Ajv)
  return ajv as Ajv
}

/** One for each draft, for the drafts' own schemas only: those of users never enter it. */
const metas = new Map<Draft.Draft, Ajv>()

const againstMeta = (schema: unknown, draft: Draft.Draft): string | undefined => {
  const meta = metas.get(draft) ?? ajvOf(draft, {})
  const valid = meta.validate(meta.defaultMeta() as string, schema)
  // Not before it is compiled: that may be ended in the middle.
  metas.set(draft, meta)
  if (valid === true) return undefined
  const error = meta.errors?.[0]
  return error === undefined
    ? "not a JSON Schema"
    : `not a JSON Schema of ${draft}: #${error.instancePath} ${messageOf(error)}`
}

const violation = (error: ErrorObject): Violation => ({
  path: `payload${error.instancePath.replaceAll("/", ".").replaceAll("~1", "/").replaceAll("~0", "~")}`,
  message: messageOf(error)
})

const messageOf = ({ message, params }: ErrorObject): string => {
  const extra: unknown =
    params.additionalProperty ?? params.unevaluatedProperty ?? params.allowed ?? params.propertyName
  return extra === undefined ? (message ?? "is not valid") : `${message} (${String(extra).slice(0, 200)})`
}
