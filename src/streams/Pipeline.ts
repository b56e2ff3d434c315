/** A pipeline as an actor: takes from its source until the input ends, it is drained, or it fails; controlled by a mailbox. */
import { Cause, Deferred, Duration, Effect, Fiber, Option, Queue, References, Schema, type Scope, Stream } from "effect"
import { DeadLetters, type Letter, type Replayed } from "../services/DeadLetters.ts"
import { Dedupe } from "../services/Dedupe.ts"
import type { Delivery } from "../services/Delivery.ts"
import { Journal } from "../services/Journal.ts"
import { Downstream, SourceError } from "../services/Source.ts"
import type { RoadFailure } from "./Endings.ts"
import { Journaling } from "./Journaling.ts"
import type { Plan } from "./Plan.ts"
import * as Rate from "./Rate.ts"
import { Road } from "./Road.ts"
import * as Runner from "./Runner.ts"
import { Stats } from "./Stats.ts"

/** The pipeline stopped before its time. */
export class PipelineError extends Schema.TaggedError<PipelineError>()("PipelineError", {
  pipeline: Schema.String,
  reason: Schema.String,
  /** away: its source can be reopened · failed: worth a few restarts · halted: by policy, for good. */
  kind: Schema.Literals(["away", "failed", "halted"])
}) {
  override get message(): string {
    return `${this.pipeline}: ${this.reason}`
  }
}

export interface Status {
  readonly name: string
  readonly state: "running" | "paused" | "draining" | "ended" | "failed"
  readonly received: number
  readonly acked: number
  readonly buried: number
  readonly nacked: number
  readonly held: number
  readonly working: number
  readonly lanes: number
  /** Working legs at most. */
  readonly concurrency: number
  /** How many are let in per interval; undefined when there is no limit. */
  readonly rate: Rate.Limit | undefined
  /** The source is held back because the buffer is full, the rate is used up or the pipeline is paused. */
  readonly waiting: boolean
  /** Legs and publishers whose target is away. */
  readonly away: ReadonlyArray<string>
  /** Whom the others wait for, when the buffer is full. */
  readonly longestLane: { readonly key: string; readonly waiting: number } | undefined
}

export interface Handle {
  readonly name: string
  readonly stats: Stats
  readonly status: Effect.Effect<Status>
  /** What changes from moment to moment, for a scrape. */
  readonly gauges: () => Pick<Status, "working" | "lanes" | "waiting">
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  /** Units: working legs. */
  readonly resize: (concurrency: number) => Effect.Effect<void>
  /** From now on so many are let in per interval; undefined lifts the limit. Replays are not limited. */
  readonly rate: (limit: Rate.Input | undefined) => Effect.Effect<void, Rate.RateError>
  readonly seek: (position: string) => Effect.Effect<void, SourceError>
  /** Stops intake and ends the work in hand. Units: milliseconds. */
  readonly drain: (deadlineMillis?: number) => Effect.Effect<void>
  /** Runs buried legs again, in the given order per key, and says how each ended. */
  readonly replay: (letters: ReadonlyArray<Letter>) => Effect.Effect<ReadonlyArray<Replayed>>
  /** Returns when the input has ended and all of it is settled, or the pipeline was drained. */
  readonly await: Effect.Effect<void, PipelineError>
}

/** Units: milliseconds. */
export const drainMillisDefault = 30_000
/**
 * How long a source that is stopped may go on handing out what it has taken; after most of it also what the buffer has
 * no room for. Units: milliseconds.
 */
const stopMillis = 5_000
const roomMillis = 4_000
/** Control messages that may wait. */
const mailboxMax = 16

type Ending =
  | { readonly _tag: "Finished" }
  | { readonly _tag: "Drained"; readonly deadlineMillis: number }
  | { readonly _tag: "Failed"; readonly error: PipelineError }

export interface StartOptions {
  readonly stats?: Stats | undefined
  /** It takes nothing until it is resumed. */
  readonly paused?: boolean | undefined
}

/** Starts the pipeline; it ends at the latest with the scope, without a drain of its own. */
export const start: (plan: Plan, options?: StartOptions) => Effect.Effect<Handle, never, DeadLetters | Scope.Scope> =
  Effect.fnUntraced(function* (plan: Plan, { paused = false, stats = new Stats() }: StartOptions = {}) {
    const deadLetters = yield* DeadLetters
    const dedupe = Option.getOrUndefined(yield* Effect.serviceOption(Dedupe))
    if (plan.dedupe !== undefined && dedupe === undefined) {
      yield* Effect.logWarning(`${plan.name}: there is no Dedupe, so copies of a message are not told apart`)
    }
    const journal = plan.journal === true ? Option.getOrUndefined(yield* Effect.serviceOption(Journal)) : undefined
    const journaling = journal && new Journaling(plan, journal)
    const runner = yield* Runner.make
    const ending = yield* Deferred.make<Ending>()
    const ended = yield* Deferred.make<void, PipelineError>()
    let state: Status["state"] = paused ? "paused" : "running"

    const fail = (kind: PipelineError["kind"], reason: string): void => {
      const error = new PipelineError({ pipeline: plan.name, reason, kind })
      Deferred.doneUnsafe(ending, Effect.succeed({ _tag: "Failed", error }))
    }
    const onFailure = ({ halted, reason }: RoadFailure): void => fail(halted ? "halted" : "failed", reason)
    runner.onDefect = (defect) => fail("failed", `defect: ${Runner.words(defect)}`)
    const road = new Road({ plan, runner, deadLetters, dedupe, journaling, stats, onFailure })

    if (paused) road.intake.pause()
    const taken = yield* Deferred.make<void>()
    const intake = yield* plan.source.open.pipe(
      Effect.flatMap((stream) => Stream.runForEachArray(stream, (deliveries) => road.intake.take(deliveries))),
      Effect.ensuring(Deferred.succeed(taken, undefined)),
      Effect.andThen(road.idle),
      Effect.matchCause({
        onSuccess: () => Deferred.doneUnsafe(ending, Effect.succeed({ _tag: "Finished" })),
        onFailure: (cause) => {
          if (Cause.hasInterruptsOnly(cause)) return
          const failure = Option.getOrUndefined(Cause.findErrorOption(cause))
          fail(failure?.away === true ? "away" : "failed", Runner.sentence(cause))
        }
      }),
      // The road yields by time itself; a yield between the source's hand and ours could lose what is in it.
      Effect.provideService(References.PreventSchedulerYield, true),
      Effect.provideService(Downstream, road.downstream),
      Effect.forkScoped
    )
    // Without a drain, too, nothing that a codec or the rate waits for may hold the end of the scope.
    const letGo = (): void => {
      road.intake.refuseRest()
      road.stopDecoding()
    }
    yield* Effect.addFinalizer(() => Effect.sync(letGo))

    const mailbox = yield* Queue.bounded<Effect.Effect<unknown>>(mailboxMax)
    yield* Queue.take(mailbox).pipe(Effect.flatten, Effect.forever, Effect.forkScoped)
    // A command to a pipeline that has ended does nothing.
    const ask = <E>(command: Effect.Effect<void, E>): Effect.Effect<void, E> =>
      Effect.gen(function* () {
        const answer = yield* Deferred.make<void, E>()
        yield* Queue.offer(mailbox, Deferred.complete(answer, Effect.uninterruptible(command)))
        return yield* Effect.raceFirst(Deferred.await(answer), Effect.ignore(Deferred.await(ended)))
      })

    yield* Effect.gen(function* () {
      const reason = yield* Deferred.await(ending)
      if (reason._tag === "Finished") {
        state = "ended"
        return yield* Deferred.succeed(ended, undefined)
      }
      state = "draining"
      // What cannot be given again is to be worked, also where the pipeline was paused.
      if (!plan.source.redelivers) road.intake.resume()
      // After a failure the source is opened again, and goes on with what it has.
      if (reason._tag === "Drained" && plan.source.stop !== undefined) {
        const stopped = yield* plan.source.stop.pipe(
          Effect.andThen(Deferred.await(taken)),
          Effect.timeoutOption(roomMillis)
        )
        if (Option.isNone(stopped)) {
          road.intake.unbound()
          yield* Effect.timeoutOption(Deferred.await(taken), stopMillis - roomMillis)
        }
      }
      const deadlineMillis = reason._tag === "Drained" ? reason.deadlineMillis : drainMillisDefault
      // What a codec or the rate waits for holds the intake; only what cannot be given again is worth the whole time.
      const [waited] = yield* plan.source.redelivers
        ? Effect.succeed([Duration.zero])
        : Effect.timed(Effect.timeoutOption(Fiber.interrupt(intake), deadlineMillis))
      letGo()
      yield* Fiber.interrupt(intake)
      yield* road.drain(Math.max(0, deadlineMillis - Duration.toMillis(waited!)))
      state = reason._tag === "Drained" ? "ended" : "failed"
      return yield* reason._tag === "Drained" ? Deferred.succeed(ended, undefined) : Deferred.fail(ended, reason.error)
    }).pipe(Effect.forkScoped)

    const { seek } = plan.source
    return {
      name: plan.name,
      stats: road.stats,
      status: Effect.sync(() => ({
        name: plan.name,
        state,
        received: road.stats.received,
        acked: road.stats.acked,
        buried: road.stats.buried,
        nacked: road.stats.nacked,
        held: road.stats.held,
        working: road.working,
        lanes: road.lanes.size,
        concurrency: road.slots.limit,
        rate: road.intake.limit,
        waiting: road.intake.waiting,
        away: road.away,
        longestLane: road.intake.full ? road.lanes.longest() : undefined
      })),
      gauges: () => ({ working: road.working, lanes: road.lanes.size, waiting: road.intake.waiting }),
      pause: ask(
        Effect.sync(() => {
          if (state === "running") state = "paused"
          road.intake.pause()
        })
      ),
      resume: ask(
        Effect.sync(() => {
          if (state === "paused") state = "running"
          road.intake.resume()
        })
      ),
      resize: (concurrency) =>
        ask(
          Effect.sync(() =>
            runner.turn(() => {
              road.slots.limit = concurrency
            })
          )
        ),
      rate: (input) => {
        const limit = input === undefined ? undefined : Rate.limitOf(input)
        if (limit instanceof Rate.RateError) return Effect.fail(limit)
        return ask(
          Effect.sync(() => {
            road.intake.limit = limit
          })
        )
      },
      seek: (position) => (seek === undefined ? Effect.fail(noSeek(plan.source.name)) : ask(seek(position))),
      drain: (deadlineMillis = drainMillisDefault) =>
        Effect.andThen(
          Deferred.succeed(ending, { _tag: "Drained", deadlineMillis }),
          Effect.ignore(Deferred.await(ended))
        ),
      replay: (letters) => replay(road, deadLetters, letters),
      await: Deferred.await(ended)
    }
  })

const noSeek = (source: string): SourceError =>
  new SourceError({ source, reason: "this source cannot go to another position", away: false })

/** A letter as a delivery: acked, it leaves the list; buried again, it stays under its id. */
const replay = (
  road: Road,
  deadLetters: DeadLetters["Service"],
  letters: ReadonlyArray<Letter>
): Effect.Effect<ReadonlyArray<Replayed>> =>
  Effect.forEach(letters, (letter) => Effect.map(Deferred.make<Replayed>(), (done) => ({ letter, done }))).pipe(
    Effect.tap((all) => road.intake.takeAgain(all.map(({ done, letter }) => deliveryOf(letter, deadLetters, done)))),
    Effect.flatMap((all) => Effect.forEach(all, ({ done }) => Deferred.await(done)))
  )

const deliveryOf = (
  letter: Letter,
  deadLetters: DeadLetters["Service"],
  done: Deferred.Deferred<Replayed>
): Delivery => ({
  envelope: letter.envelope,
  resume: {
    letter: letter.id,
    stage: letter.stage,
    event: letter.event,
    leg: letter.leg,
    reply: letter.reply,
    attempts: letter.attempts
  },
  settle: (settlement) => {
    switch (settlement._tag) {
      case "Acked":
      case "Refused":
        return deadLetters.remove([letter.id]).pipe(
          Effect.matchEffect({
            onSuccess: () => Deferred.succeed(done, { id: letter.id, outcome: "acked", reason: undefined }),
            onFailure: ({ reason }) => Deferred.succeed(done, { id: letter.id, outcome: "nacked", reason })
          }),
          Effect.asVoid
        )
      case "Buried":
        return Effect.asVoid(Deferred.succeed(done, { id: letter.id, outcome: "buried", reason: settlement.reason }))
      case "Nacked":
        return Effect.asVoid(Deferred.succeed(done, { id: letter.id, outcome: "nacked", reason: settlement.reason }))
    }
  }
})
