/** Takes webhooks: knows who sends, tells copies apart, and answers each when it is done. */
import { Clock, Duration, Effect, Result, Schema, type Scope } from "effect"
import * as Component from "../services/Component.ts"
import * as Fields from "../services/Fields.ts"
import { HttpHost, type HttpHostError, type HttpResponse } from "../services/HttpHost.ts"
import type { Source } from "../services/Source.ts"
import * as WebhookAuth from "../services/WebhookAuth.ts"
import * as AnswerCount from "./AnswerCount.ts"
import * as HttpIntake from "./HttpIntake.ts"
import { oneLine } from "./OneLine.ts"
import { sparingly } from "./Sparingly.ts"
import * as WebhookAnswers from "./WebhookAnswers.ts"
import * as WebhookFormats from "./WebhookFormats.ts"

export interface Options {
  readonly pipeline: string
  /** Such as `/hooks/github`. */
  readonly path: string
  /** Who may send; everybody by default. */
  readonly auth?: WebhookAuth.Auth | undefined
  /** Who sends, which says where its id stands and what must be readable; `plain` by default. */
  readonly format?: WebhookFormats.Name | undefined
  /** `status` by default; the others are for `hasura`. */
  readonly answer?: WebhookAnswers.Shape | undefined
  /** How long a request waits for its delivery to end; 30 seconds by default. */
  readonly answerWithin?: Duration.Input | undefined
  /** Units: bytes; 1 MiB by default. */
  readonly bodyMax?: number | undefined
}

const open: WebhookAuth.Auth = {
  head: () => undefined,
  body: () => undefined,
  secretHeaders: ["authorization", "cookie", "proxy-authorization", "passphrase"]
}

/** The path is taken for as long as the scope is open; between two openings of the source it answers 503. */
export const make: (options: Options) => Effect.Effect<Source, HttpHostError, HttpHost | Scope.Scope> =
  Effect.fnUntraced(function* ({
    answer = "status",
    answerWithin = "30 seconds",
    auth = open,
    bodyMax = 1024 * 1024,
    format: formatName = "plain",
    path,
    pipeline
  }: Options) {
    const host = yield* HttpHost
    const clock = yield* Clock.Clock
    const name = `webhook:${path}`
    const intake = yield* HttpIntake.make({ name, answerWithin: Duration.fromInputUnsafe(answerWithin) })
    const format = WebhookFormats.format(formatName, answer === "status" ? undefined : answer)
    const answers = WebhookAnswers.answers(answer)
    const secretHeaders = new Set(auth.secretHeaders)
    const counted = (yield* AnswerCount.make("webhook", pipeline))(path)
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const warn = sparingly((_, words) =>
      run(Effect.logWarning(`${pipeline}: ${name} refused a request: ${oneLine(words)}`))
    )
    const deny = (denial: WebhookAuth.Denial): HttpResponse => {
      warn(name, denial.reason)
      return counting(answers.denied(denial))
    }
    const counting = (response: HttpResponse): HttpResponse => {
      counted.answered(response)
      return response
    }
    yield* host.route({
      method: "POST",
      path,
      bodyMax,
      admit: (head) => {
        const denial = auth.head(head)
        return denial && deny(denial)
      },
      handle: (request) => {
        const receivedAt = clock.currentTimeMillisUnsafe()
        const denial = auth.body(request)
        if (denial !== undefined) return deny(denial)
        const read = format.read(request)
        if (Result.isFailure(read)) {
          warn(name, read.failure.reason)
          return counting(answers.unreadable(read.failure))
        }
        const { body: payload, headers: all } = format.kept?.(request) ?? request
        const headers = without(secretHeaders, all)
        const envelope = new WebhookFormats.Received(name, read.success, { headers, payload, receivedAt })
        return intake.one(envelope, (ended) =>
          counting(answers.ended(ended, envelope.id, clock.currentTimeMillisUnsafe() - receivedAt))
        )
      }
    })
    const source: Source = {
      ...intake.source,
      codec: format.codec,
      repeats: WebhookFormats.Received.repeats,
      // Version 2 also names what was not detected.
      ...(answer === "v2" && { explains: true })
    }
    return source
  })

export const component = Component.source({
  type: "webhook",
  summary:
    "Webhooks on a path of the HTTP server: senders are known by secrets or signatures, and each message is answered 200 once it is done.",
  options: Schema.Struct({
    path: Fields.Text,
    ...WebhookAuth.fields,
    /** Who sends: where the id stands, and what the body must be. Absent: as auth says it, otherwise plain. */
    format: Schema.optionalKey(Schema.Literals(WebhookFormats.names)),
    /** By status alone, or, for hasura, in the words of version 0 or 2 of the event detector. */
    answer: Fields.orElse(Schema.Literals(WebhookAnswers.shapes), "status"),
    /** How long a request waits for its message to be done; the work goes on after that. */
    answerWithin: Fields.orElse(Fields.Duration, Duration.seconds(30)),
    bodyMax: Fields.orElse(Fields.Bytes, 1024 * 1024)
  }),
  make: ({ auth, open, ...options }, { pipeline }) =>
    Effect.gen(function* () {
      const { address } = yield* HttpHost
      const wanted = { ...(auth !== undefined && { auth }), ...(open !== undefined && { open }) }
      const format = options.format ?? WebhookFormats.nameOf(WebhookAuth.waysOf(wanted))
      if (options.answer !== "status" && format !== "hasura") {
        const expected = `format: hasura beside answer: ${options.answer}`
        return yield* new Component.OptionsError({ problems: [{ path: ["format"], expected, found: options.format }] })
      }
      const { make: authOf } = yield* WebhookAuth.WebhookAuth
      // Without a server the route says so.
      const guard = address === undefined ? undefined : yield* authOf(wanted, { host: address.host, pipeline })
      return yield* Effect.mapError(make({ ...options, pipeline, format, auth: guard }), ({ reason }) => {
        const expected = `a path that can be taken (${reason})`
        return new Component.OptionsError({ problems: [{ path: ["path"], expected, found: options.path }] })
      })
    })
})

const without = (
  names: ReadonlySet<string>,
  headers: Readonly<Record<string, string>>
): Readonly<Record<string, string>> => {
  const kept: Record<string, string> = {}
  for (const name of Object.keys(headers)) if (!names.has(name)) kept[name] = headers[name]!
  return kept
}
