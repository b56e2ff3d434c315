/** Reads Prefect's variables from the environment, and takes secrets out of texts. */
import { Config, Effect, Option } from "effect"
import type { Conceal } from "./HttpAnswer.ts"

/** A variable of the environment; empty counts as absent. */
export const variable = (name: string): Effect.Effect<string | undefined> =>
  Effect.orDie(Config.option(Config.String(name))).pipe(
    Effect.map((value) => Option.getOrUndefined(value)?.trim() || undefined)
  )

/** Units: characters. Shorter ones stand in texts by chance. */
const secretMin = 4

/** Takes secrets out of a text, also as a URL spells them. */
export const concealing = (secrets: ReadonlyArray<string>): Conceal => {
  const spellings = secrets
    .filter((secret) => secret.length >= secretMin)
    .flatMap((secret) => [secret, encodeURIComponent(secret)])
    .sort((a, b) => b.length - a.length)
  return (text) => spellings.reduce((shown, spelling) => shown.replaceAll(spelling, "<secret>"), text)
}
