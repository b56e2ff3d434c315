/** Finds events by rules: each names an event and the conditions under which a message shows it. */
import { Effect, Result, Schema } from "effect"
import { RE2JS } from "re2js"
import * as Component from "../services/Component.ts"
import type { Detector } from "../services/Detector.ts"
import type { Detection } from "../services/Event.ts"
import * as Fields from "../services/Fields.ts"
import * as Rules from "../streams/Rules.ts"

export interface Entry {
  readonly event: string
  readonly when: unknown
}

export const Rule = Schema.Struct({ event: Fields.Text, when: Schema.Record(Schema.String, Schema.Any) })

const nothing: ReadonlyArray<Detection> = []

/** Compiles all rules, or says what is wrong with each that cannot be. */
export const make = (entries: ReadonlyArray<Entry>): Result.Result<Detector, ReadonlyArray<Rules.Problem>> => {
  const problems: Array<Rules.Problem> = []
  const rules: Array<{ readonly event: string; readonly rule: Rules.Rule }> = []
  entries.forEach(({ event, when }, i) => {
    const compiled = Rules.compile(when, matcher, [i, "when"])
    if (Result.isSuccess(compiled)) rules.push({ event, rule: compiled.success })
    else problems.push(...compiled.failure)
  })
  if (problems.length > 0) return Result.fail(problems)
  return Result.succeed({
    name: "rules",
    events: rules.map(({ event }) => event),
    detect: (event) => {
      const from = { event }
      let found: Array<Detection> | undefined
      for (let i = 0; i < rules.length; i++) {
        const { event: name, rule } = rules[i]!
        if (!rule.holds(from)) continue
        if (found === undefined) found = [{ name, event }]
        else if (!found.some((one) => one.name === name)) found.push({ name, event })
      }
      return found ?? nothing
    },
    explain: (event) =>
      rules.map(({ event: name, rule }) => {
        const holds = rule.holds({ event })
        return { event: name, verdict: holds ? "yes" : "no", why: holds ? undefined : rule.why({ event }) }
      })
  })
}

export const component = Component.detector({
  type: "rules",
  summary:
    "Rules, each an event and the conditions (`when`) under which a message shows it; a plain list is short for this.",
  options: Schema.Struct({ rules: Schema.Array(Rule) }),
  make: ({ rules }) => {
    const made = make(rules)
    return Result.isSuccess(made)
      ? Effect.succeed(made.success)
      : Effect.fail(
          new Component.OptionsError({
            problems: made.failure.map((one) => ({ ...one, path: ["rules", ...one.path] }))
          })
        )
  }
})

/** Expressions in linear time, whatever the text. */
const matcher: Rules.Matcher = (expression) =>
  Result.try({
    try: () => {
      const compiled = RE2JS.compile(expression)
      return (text: string) => compiled.matcher(text).find()
    },
    catch: (error) => (error instanceof Error ? error.message : String(error))
  })
