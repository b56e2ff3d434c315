/** What a schema has against a value, said as problems of a config: where, what was expected, what came. */
import { SchemaAST, type SchemaIssue } from "effect"
import type { Problem } from "../services/Component.ts"

/** The leaves of a schema's issue, each as one problem at its path. */
export const problemsOf = (
  issue: SchemaIssue.Issue,
  path: ReadonlyArray<string | number>,
  root: unknown
): ReadonlyArray<Problem> => {
  const found = path.reduce((value: unknown, step) => field(value, `${step}`), root)
  switch (issue._tag) {
    case "Pointer":
      return problemsOf(
        issue.issue,
        [...path, ...issue.path.map((step) => (typeof step === "number" ? step : String(step)))],
        root
      )
    case "Composite":
    case "AnyOf":
      if (issue._tag === "AnyOf" && (issue.issues.length === 0 || isScalarUnion(issue.ast))) {
        return [{ path, expected: describe(issue.ast), found }]
      }
      return issue.issues.flatMap((one) => problemsOf(one, path, root))
    case "Encoding":
      return problemsOf(issue.issue, path, root)
    case "Filter": {
      // What a check expects is said at the check, unless what it found says more.
      const { expected } = issue.filter.annotations ?? {}
      const isBare = issue.issue._tag === "InvalidValue" && issue.issue.annotations?.expected === undefined
      return isBare && typeof expected === "string" ? [{ path, expected, found }] : problemsOf(issue.issue, path, root)
    }
    case "MissingKey":
      return [{ path, expected: "a value, since it is required", found: undefined }]
    case "UnexpectedKey": {
      const words = keysOf(issue.ast)
      return [{ path, expected: `one of ${words.join(", ")}`, found: path.at(-1), words }]
    }
    case "InvalidType":
      return [{ path, expected: describe(issue.ast), found, words: literalsOf(issue.ast) }]
    case "InvalidValue":
      return [{ path, expected: String(issue.annotations?.expected ?? "another value"), found }]
    default:
      return [{ path, expected: "another value", found }]
  }
}

const keysOf = (ast: SchemaAST.AST): ReadonlyArray<string> =>
  SchemaAST.isObjects(ast) ? ast.propertySignatures.map(({ name }) => String(name)) : []

const literalsOf = (ast: SchemaAST.AST): ReadonlyArray<string> | undefined =>
  SchemaAST.isUnion(ast) && ast.types.every(SchemaAST.isLiteral)
    ? ast.types.map((type) => String((type as SchemaAST.Literal).literal))
    : undefined

const isScalarUnion = (ast: SchemaAST.AST): boolean =>
  SchemaAST.isUnion(ast) && ast.types.every((type) => !SchemaAST.isObjects(type) && !SchemaAST.isArrays(type))

const describe = (ast: SchemaAST.AST): string => {
  const expected = ast.annotations?.expected
  if (typeof expected === "string") return expected
  if (SchemaAST.isString(ast)) return "text"
  if (SchemaAST.isNumber(ast)) return "a number"
  if (SchemaAST.isBoolean(ast)) return "true or false"
  if (SchemaAST.isObjects(ast)) return "a map"
  if (SchemaAST.isArrays(ast)) return "a list"
  if (SchemaAST.isLiteral(ast)) return String(ast.literal)
  if (SchemaAST.isUnion(ast)) return [...new Set(ast.types.map(describe))].join(" or ")
  return "another value"
}

/** A field of what may be no map at all. */
export const field = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined
