/** Reads Prefect's variables from the environment. */
import { Config, Effect, Option } from "effect"

/** A variable of the environment; empty counts as absent. */
export const variable = (name: string): Effect.Effect<string | undefined> =>
  Effect.orDie(Config.option(Config.String(name))).pipe(
    Effect.map((value) => Option.getOrUndefined(value)?.trim() || undefined)
  )
