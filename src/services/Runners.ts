/** Who runs which pipelines just now, and how replays reach them. */
import { Context, type Effect, Schema, type Scope } from "effect"
import type { Replayed } from "./DeadLetters.ts"

export class RunnersError extends Schema.TaggedError<RunnersError>()("RunnersError", {
  reason: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return this.reason
  }
}

export class Runners extends Context.Service<
  Runners,
  {
    /** Announces the pipelines of this process, until the scope closes or the process dies. */
    readonly register: (pipelines: ReadonlyArray<string>) => Effect.Effect<void, RunnersError, Scope.Scope>
    /** Whether a living process runs the pipeline. */
    readonly running: (pipeline: string) => Effect.Effect<boolean, RunnersError>
    /**
     * Hands letters to a process that runs the pipeline, waits, and says of each once how it ended, in the given order.
     *
     * When that process goes, or none runs the pipeline, the letters without an outcome come back nacked.
     */
    readonly requestReplay: (
      pipeline: string,
      letters: ReadonlyArray<string>
    ) => Effect.Effect<ReadonlyArray<Replayed>, RunnersError>
    /**
     * Takes the requests for a pipeline of this process, each by exactly one process, while the scope is open.
     *
     * Letters that `replay` has no outcome for are gone: they come back nacked.
     */
    readonly serve: <R>(
      pipeline: string,
      replay: (letters: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<Replayed>, never, R>
    ) => Effect.Effect<void, never, R | Scope.Scope>
  }
>()("sluice/services/Runners") {}
