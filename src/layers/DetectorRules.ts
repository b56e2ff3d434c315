/** Finds events by rules: each names an event and the conditions under which a message shows it. */
import { Result } from "effect"
import { RE2JS } from "re2js"
import type { Detector } from "../services/Detector.ts"
import type { Detection } from "../services/Event.ts"
import * as Rules from "../streams/Rules.ts"

export interface Entry {
  readonly event: string
  readonly when: unknown
}

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
        const matched = rule.holds({ event })
        return { event: name, matched, why: matched ? undefined : rule.why({ event }) }
      })
  })
}

/** Expressions in linear time, whatever the text. */
const matcher: Rules.Matcher = (expression) =>
  Result.try({
    try: () => {
      const compiled = RE2JS.compile(expression)
      return (text: string) => compiled.matcher(text).find()
    },
    catch: (error) => (error instanceof Error ? error.message : String(error))
  })
