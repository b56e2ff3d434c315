/** Takes requests as deliveries and tells whoever asked how each ended; refuses what a full pipeline cannot take. */
import { type Array as Arr, Cause, Clock, Duration, Effect, Latch, Stream } from "effect"
import type { Delivery, Settlement } from "../services/Delivery.ts"
import type { Envelope } from "../services/Envelope.ts"
import type { Ready } from "../services/Ready.ts"
import type { Source } from "../services/Source.ts"
import { type Link, Linked } from "./Linked.ts"

/** Nobody could say how it ends: it was not taken, or not done in time. The sender is to come again. */
export interface Away {
  readonly _tag: "Away"
  readonly reason: string
}

/** How a request ended. */
export type Ended = Settlement | Away

export interface HttpIntake {
  /** Gives the requests to a pipeline; between two openings they are refused. */
  readonly source: Source
  /** Has one worked, and builds the answer from its end. What is interrupted before it is taken is not worked. */
  readonly one: <A>(envelope: Envelope, answer: (ended: Ended) => A) => Ready<A>
  /** Has several worked, and builds one answer from all their ends, in their order. Units: 1 to 1,024 envelopes. */
  readonly all: <A>(envelopes: ReadonlyArray<Envelope>, answer: (ended: ReadonlyArray<Ended>) => A) => Ready<A>
}

export interface Options {
  readonly name: string
  /** How long a request waits for its end; the work goes on after that. */
  readonly answerWithin: Duration.Duration
}

/** Units: requests that may wait for a pipeline that takes none. */
const waitingMax = 64
/** Units: requests; milliseconds. A burst may wait for as long as a pipeline needs to take it all. */
const burstMax = 1024
const burstMillis = 50
/** Units: bytes of all that waits. */
const waitingBytesMax = 64 * 1024 * 1024
/** Units: requests; bytes. What one array holds. */
const arrayMax = 256
const arrayBytesMax = 1024 * 1024

export const make: (options: Options) => Effect.Effect<HttpIntake> = Effect.fnUntraced(function* (options: Options) {
  const clock = yield* Clock.Clock
  const answerMillis = Duration.toMillis(options.answerWithin)
  let open: Opening | undefined
  const source: Source = {
    name: options.name,
    redelivers: true,
    answers: true,
    open: Effect.gen(function* () {
      const opened = new Opening(answerMillis, clock)
      // What was handed out is answered until the pipeline's scope closes, long after its intake has stopped.
      yield* Effect.addFinalizer(() => Effect.sync(() => opened.endAll()))
      yield* Effect.forkScoped(opened.expire)
      yield* Effect.forkScoped(opened.trim)
      return Stream.fromPull(Effect.succeed(opened.pull)).pipe(
        Stream.onStart(
          Effect.sync(() => {
            open = opened
          })
        ),
        Stream.ensuring(
          Effect.sync(() => {
            if (open === opened) open = undefined
            opened.close()
          })
        )
      )
    })
  }
  return {
    source,
    one: (envelope, answer) => open?.one(envelope, answer) ?? answer(notRunning),
    all: (envelopes, answer) => open?.all(envelopes, answer) ?? answer(envelopes.map(() => notRunning))
  }
})

type Taken = Arr.NonEmptyReadonlyArray<Delivery>

/** The requests of one opening of the source: those that wait to be taken, and those that wait for their end. */
class Opening {
  private readonly waiting: Array<Asked> = []
  /** In the order of arrival, so the first is the next whose time is up. */
  private readonly unanswered = new Linked<Asked>()
  private readonly some = Latch.makeUnsafe(false)
  private readonly busy = Latch.makeUnsafe(false)
  private readonly over = Latch.makeUnsafe(false)
  private waitingBytes = 0
  private closed = false
  private readonly answerMillis: number
  private readonly clock: Clock.Clock

  constructor(answerMillis: number, clock: Clock.Clock) {
    this.answerMillis = answerMillis
    this.clock = clock
  }

  one<A>(envelope: Envelope, answer: (ended: Ended) => A): Ready<A> {
    const refusal = this.refusalOf(1, envelope.payload.length)
    if (refusal !== undefined) return answer(refusal)
    return Effect.callback<A>((resume) => {
      const asked = this.put(envelope, (ended) => resume(Effect.sync(() => answer(ended))))
      return Effect.sync(() => this.abandon(asked))
    })
  }

  all<A>(envelopes: ReadonlyArray<Envelope>, answer: (ended: ReadonlyArray<Ended>) => A): Ready<A> {
    const refusal = this.refusalOf(
      envelopes.length,
      envelopes.reduce((bytes, { payload }) => bytes + payload.length, 0)
    )
    if (refusal !== undefined) return answer(envelopes.map(() => refusal))
    return Effect.callback<A>((resume) => {
      const ends: Array<Ended> = []
      let left = envelopes.length
      const asked = envelopes.map((envelope, i) =>
        this.put(envelope, (ended) => {
          ends[i] = ended
          if (--left === 0) resume(Effect.sync(() => answer(ends)))
        })
      )
      return Effect.sync(() => {
        for (const one of asked) this.abandon(one)
      })
    })
  }

  private refusalOf(count: number, bytes: number): Away | undefined {
    if (this.closed) return stopping
    const { length } = this.waiting
    if (length + count > burstMax || (length > 0 && this.waitingBytes + bytes > waitingBytesMax)) return full
    return undefined
  }

  private put(envelope: Envelope, tell: (ended: Ended) => void): Asked {
    const asked = new Asked(envelope, this.unanswered, tell)
    this.waiting.push(asked)
    this.waitingBytes += sizeOf(asked)
    this.some.openUnsafe()
    this.busy.openUnsafe()
    if (this.waiting.length > waitingMax) this.over.openUnsafe()
    return asked
  }

  /** Everything that waits, up to the size of an array. */
  readonly pull: Effect.Effect<Taken, Cause.Done> = Effect.suspend((): Effect.Effect<Taken, Cause.Done> => {
    if (this.closed) return Cause.done()
    if (this.waiting.length > 0) return Effect.succeed(this.take())
    this.some.closeUnsafe()
    // Requests that came with the one that woke us are there after a turn of the event loop, and go in the same array.
    return Effect.flatMap(Effect.andThen(this.some.await, Effect.yieldNow), () => this.pull)
  })

  private take(): Taken {
    let count = 1
    for (let bytes = sizeOf(this.waiting[0]!); count < Math.min(this.waiting.length, arrayMax); count++) {
      bytes += sizeOf(this.waiting[count]!)
      if (bytes > arrayBytesMax) break
    }
    return this.remove(0, count) as [Asked, ...Array<Asked>]
  }

  private remove(from: number, count: number): Array<Asked> {
    const removed = this.waiting.splice(from, count)
    for (const asked of removed) this.waitingBytes -= sizeOf(asked)
    return removed
  }

  /** A pipeline that has not taken a burst after a while is full: who came late to it is told to come again. */
  readonly trim: Effect.Effect<never> = Effect.suspend(() => this.over.await).pipe(
    Effect.andThen(Effect.sleep(burstMillis)),
    Effect.andThen(
      Effect.sync(() => {
        const due = this.clock.currentTimeMillisUnsafe() - burstMillis
        const late = this.waiting.findIndex(({ envelope }, i) => i >= waitingMax && envelope.receivedAt > due)
        const refused = (late < 0 ? this.waiting.length : late) - waitingMax
        for (const asked of this.remove(waitingMax, Math.max(refused, 0))) asked.end(full)
        if (this.waiting.length <= waitingMax) this.over.closeUnsafe()
      })
    ),
    Effect.forever
  )

  /** Ends those whose time is up, one sleep for all of them: they have waited in the order of arrival. */
  readonly expire: Effect.Effect<never> = Effect.suspend(() => {
    const now = this.clock.currentTimeMillisUnsafe()
    for (let asked = this.unanswered.first; asked !== undefined; asked = this.unanswered.first) {
      const left = asked.envelope.receivedAt + this.answerMillis - now
      if (left > 0) return Effect.andThen(Effect.sleep(left), this.expire)
      this.drop(asked)
      asked.end(away(`not done within ${Duration.format(Duration.millis(this.answerMillis))}`))
    }
    this.busy.closeUnsafe()
    return Effect.andThen(this.busy.await, this.expire)
  })

  /** Stops intake: whoever still waits to be taken is told to come again. */
  close(): void {
    this.closed = true
    for (const asked of this.remove(0, burstMax)) asked.end(stopping)
    this.some.openUnsafe()
  }

  endAll(): void {
    this.close()
    for (let asked = this.unanswered.first; asked !== undefined; asked = this.unanswered.first) asked.end(stopped)
  }

  private abandon(asked: Asked): void {
    this.drop(asked)
    asked.forget()
  }

  /** Its client has gone or was told to come again: what nobody has taken yet need not be done. */
  private drop(asked: Asked): void {
    const at = this.waiting.indexOf(asked)
    if (at >= 0) this.remove(at, 1)
  }
}

class Asked implements Delivery, Link<Asked> {
  readonly envelope: Envelope
  before: Asked | undefined
  after: Asked | undefined
  private readonly unanswered: Linked<Asked>
  private tell: ((ended: Ended) => void) | undefined

  constructor(envelope: Envelope, unanswered: Linked<Asked>, tell: (ended: Ended) => void) {
    this.envelope = envelope
    this.unanswered = unanswered
    this.tell = tell
    unanswered.add(this)
  }

  settle(settlement: Settlement): void {
    this.end(settlement)
  }

  /** The first end counts: a settlement that comes too late has nobody to tell. */
  end(ended: Ended): void {
    const { tell } = this
    this.forget()
    tell?.(ended)
  }

  forget(): void {
    this.tell = undefined
    this.unanswered.remove(this)
  }
}

const away = (reason: string): Away => ({ _tag: "Away", reason })
const notRunning = away("the pipeline is not running just now")
const stopping = away("the pipeline is stopping")
const stopped = away("the pipeline has stopped")
const full = away("the pipeline takes no more just now")

const sizeOf = ({ envelope }: Asked): number => envelope.payload.length
