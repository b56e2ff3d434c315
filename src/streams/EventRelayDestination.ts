/** Reads a destination of EventRelay: what was pulled is in the inbox until it is settled, and given back where it can be. */
import { type Cause, Clock, Effect, Fiber, Option, Queue, type Scope, Stream } from "effect"
import type { Channel, RelayEvent } from "../services/EventRelay.ts"
import { type Box, Inbox, type InboxError } from "../services/Inbox.ts"
import { type Source, SourceError } from "../services/Source.ts"
import * as EventRelayCalls from "./EventRelayCalls.ts"
import * as EventRelayEvent from "./EventRelayEvent.ts"
import { EventRelayHeld, type Held, linesOf, type Taken } from "./EventRelayHeld.ts"
import { EventRelayPullers } from "./EventRelayPullers.ts"
import { type Ability, EventRelayUnlocking } from "./EventRelayUnlocking.ts"
import * as Outage from "./Outage.ts"

export interface Options {
  readonly pipeline: string
  /** A connection each, one call at a time on each of them. */
  readonly channels: readonly [Channel, ...Array<Channel>]
  /** Its id. */
  readonly destination: string
  /** Units: events received and not settled; 128 by default. */
  readonly demand?: number | undefined
  /** Between two looks at an empty destination; 5 seconds by default. Units: milliseconds. */
  readonly pullMillis?: number | undefined
  readonly backoff?: EventRelayCalls.Backoff | undefined
}

export const pullMillisDefault = 5_000
const demandDefault = 128

/** Units: deliveries in one array. */
const arrayMax = 256
/** Units: milliseconds. How long a call under way may still bring something when everything stops. */
const lastMillis = 2_000
/** Units: milliseconds. How long a stop waits for what is to be given back; then it stays in the inbox. */
const giveBackMillis = 5_000

export const make = Effect.fnUntraced(function* (options: Options): Effect.fn.Return<Source, never, Inbox> {
  const inbox = yield* Inbox
  const name = `eventrelay:${options.destination}`
  const ability: Ability = { can: undefined }
  let opened: Opening | undefined
  return {
    name,
    // Also until the server has said so: what it does not take back stays in the inbox.
    get redelivers() {
      return ability.can !== false
    },
    answers: false,
    codec: EventRelayEvent.codec,
    stop: Effect.suspend(() => opened?.stop ?? Effect.void),
    open: Effect.gen(function* () {
      const outage = Outage.make(options.pipeline)
      const box = yield* inbox
        .open(JSON.stringify(["eventrelay", options.pipeline, options.destination]), (error) =>
          Effect.logWarning(`${name}: ${error.reason}`)
        )
        .pipe(Effect.mapError((error) => sourceError(name, error)))
      opened = yield* openingOf(options, { ability, box, name, outage })
      return opened.stream
    })
  }
})

interface Opening {
  readonly stream: Stream.Stream<Held, SourceError>
  readonly stop: Effect.Effect<void>
}

interface Given {
  readonly name: string
  readonly box: Box
  readonly outage: Outage.Outage
  readonly ability: Ability
}

const openingOf = Effect.fnUntraced(function* (
  options: Options,
  { ability, box, name, outage }: Given
): Effect.fn.Return<Opening, never, Scope.Scope> {
  const { backoff = EventRelayCalls.backoffDefault, channels, demand = demandDefault, destination } = options
  const unlocking: EventRelayUnlocking = new EventRelayUnlocking({
    source: name,
    channel: channels[0],
    destination,
    outage,
    ability,
    backoff,
    held: () => held
  })
  const held = new EventRelayHeld({ source: name, box, demand, onNacked: (one) => unlocking.add(one) })
  const left = held.take(leftIn(box), yield* Clock.currentTimeMillis)
  if (left.length > 0) yield* Effect.logInfo(`${name}: ${left.length} events of before are still in the inbox`)
  const out = yield* Queue.bounded<Held, SourceError | Cause.Done>(demand + left.length)
  yield* Queue.offerAll(out, left)
  const pullers = new EventRelayPullers({
    channels,
    destination,
    held,
    box,
    outage,
    backoff,
    demand,
    pullMillis: options.pullMillis ?? pullMillisDefault,
    out,
    onFirstFailure: (error) => {
      const refused = EventRelayCalls.refusal(name, error)
      return refused === undefined ? Effect.void : Queue.fail(out, refused)
    }
  })
  yield* Effect.forkScoped(unlocking.find)
  yield* Effect.forkScoped(unlocking.run)
  const pulling = yield* Effect.forkScoped(pullers.run)
  const stopPulling = Effect.suspend(() => {
    pullers.stop()
    return Effect.andThen(Effect.timeoutOption(Fiber.await(pulling), lastMillis), Fiber.interrupt(pulling))
  })
  // Runs before the fibers above are interrupted, since it stands behind them.
  yield* Effect.addFinalizer(() =>
    Effect.gen(function* () {
      yield* stopPulling
      held.giveBack()
      const done = yield* Effect.timeoutOption(Effect.interruptible(unlocking.now), giveBackMillis)
      if (Option.isNone(done)) {
        yield* Effect.logWarning(`${name}: not all could be given back; the rest stays in the inbox`)
      }
    })
  )
  const pull = Effect.suspend(() => {
    pullers.waits(true)
    return Queue.takeBetween(out, 1, arrayMax)
  }).pipe(
    Effect.tap(() => Effect.sync(() => pullers.waits(false))),
    Effect.map((some) => some as unknown as readonly [Held, ...Array<Held>])
  )
  return {
    stream: Stream.ensuring(Stream.fromPull(Effect.succeed(pull)), stopPulling),
    stop: Effect.gen(function* () {
      yield* stopPulling
      // What nobody else can have is handed out.
      if (ability.can !== false) held.giveBack(yield* Queue.clear(out).pipe(Effect.orElseSucceed(() => [])))
      yield* Queue.end(out)
    })
  }
})

/** What processes that are gone had pulled and not settled. */
const leftIn = (box: Box): ReadonlyArray<Taken> =>
  box.left.flatMap(({ batch, bytes, holder, settled }) =>
    linesOf(bytes).flatMap((payload, item) => {
      if (settled.has(item)) return []
      const event = JSON.parse(utf8.decode(payload)) as RelayEvent
      return [{ event, payload, kept: { batch, item }, attempt: holder }]
    })
  )

const utf8 = new TextDecoder()

const sourceError = (source: string, error: InboxError): SourceError =>
  new SourceError({ source, reason: error.reason, away: error.retryable, cause: error })
