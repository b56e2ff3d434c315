/** What a detection asks of Prefect: which deployment, and a flow run made how. */
import { createHash } from "node:crypto"
import { DateTime, type Duration, Result } from "effect"
import type { Problem } from "../services/Component.ts"
import { DispatchError } from "../services/Dispatcher.ts"
import * as Envelope from "../services/Envelope.ts"
import type { Detection } from "../services/Event.ts"
import * as Path from "../streams/Path.ts"
import * as Placeholders from "../streams/Placeholders.ts"
import { words } from "../streams/Runner.ts"
import * as ExactNumbers from "./ExactNumbers.ts"

/** Texts may hold placeholders such as `{{payload.name}}`. */
export interface Options {
  /** `Flow Name/deployment-name`, or a map from events to such texts, in which `*` stands for all other events. */
  readonly deployment: string | Readonly<Record<string, string>>
  /** A path, or a map from the names of parameters to paths; absent: none are sent. */
  readonly parameters?: string | Readonly<Record<string, string>> | undefined
  readonly tags?: ReadonlyArray<string> | undefined
  /** Of the flow run; absent: Prefect makes one up. */
  readonly name?: string | undefined
  /** A path, or a text with placeholders; absent, or nothing there: the envelope's source and id. */
  readonly idempotencyKey?: string | undefined
  readonly workQueue?: string | undefined
  /** How long after its creation the run is scheduled; absent: at once. */
  readonly delay?: Duration.Duration | undefined
  readonly jobVariables?: Readonly<Record<string, unknown>> | undefined
}

/** A deployment as it is asked for. */
export interface Name {
  readonly flow: string
  readonly deployment: string
  /** Both, as `Flow Name/deployment-name`. */
  readonly text: string
}

/** A flow run as it is asked for, but for the deployment's id and the time. */
export interface Run {
  readonly parameters: unknown
  readonly body: (deploymentId: string, nowMillis: number) => string
}

export interface Request {
  readonly name: (detection: Detection) => Result.Result<Name, DispatchError>
  readonly run: (detection: Detection) => Result.Result<Run, DispatchError>
}

/** Units: characters. Longer keys are shortened to their digest, as an index of Prefect's has its limits. */
const keyMax = 512

/** Fails: with everything that is wrong with the options. */
export const compile = (options: Options): Result.Result<Request, ReadonlyArray<Problem>> => {
  const problems: Array<Problem> = []
  const checked = <A>(result: Result.Result<A, string>, path: Problem["path"], found: unknown): A | undefined => {
    if (Result.isSuccess(result)) return result.success
    problems.push({ path, expected: result.failure, found })
    return undefined
  }
  const text = (value: string, path: Problem["path"]) => checked(Placeholders.compile(value), path, value)
  const path = (value: string, at: Problem["path"]) =>
    checked(Path.compile(value, ["payload", "envelope", "event"]), at, value)
  const { deployment, idempotencyKey, name, parameters, tags = [] } = options

  const names = deploymentsOf(deployment, text, (path, found) => problems.push({ path, expected, found }))
  const compiled = {
    tags: tags.map((tag, i) => text(tag, ["tags", i])),
    name: name === undefined ? undefined : text(name, ["name"]),
    key: keyOf(idempotencyKey, text, path),
    parameters: parametersOf(parameters, path)
  }
  if (problems.length > 0) return Result.fail(problems)
  return Result.succeed({
    name: (detection) => nameOf(names, detection),
    run: (detection) => runOf(options, compiled as Compiled, detection)
  })
}

interface Compiled {
  readonly tags: ReadonlyArray<Placeholders.Placeholders>
  readonly name: Placeholders.Placeholders | undefined
  readonly key: (from: Path.From) => string | undefined
  readonly parameters: (from: Path.From) => unknown
}

type CompileText = (value: string, path: Problem["path"]) => Placeholders.Placeholders | undefined
type CompilePath = (value: string, path: Problem["path"]) => Path.Path | undefined

// ---------------------------------------------------------------------------------------------------- deployment

const expected = "Flow Name/deployment-name"
const others = "*"

const parsed = (text: string): Name | undefined => {
  const [flow = "", deployment = "", ...more] = text.split("/")
  return flow.trim() === "" || deployment.trim() === "" || more.length > 0 ? undefined : { flow, deployment, text }
}

type Deployments = (event: string) => Placeholders.Placeholders | undefined

const deploymentsOf = (
  deployment: Options["deployment"],
  compile: CompileText,
  wrong: (path: Problem["path"], found: unknown) => void
): Deployments => {
  const checked = (text: string, path: Problem["path"]) => {
    const compiled = compile(text, path)
    if (compiled?.isPlain === true && parsed(text) === undefined) wrong(path, text)
    return compiled
  }
  if (typeof deployment === "string") {
    const only = checked(deployment, ["deployment"])
    return () => only
  }
  const entries = Object.entries(deployment)
  if (entries.length === 0) wrong(["deployment"], deployment)
  const byEvent = new Map(entries.map(([event, text]) => [event, checked(text, ["deployment", event])]))
  return (event) => byEvent.get(event) ?? byEvent.get(others)
}

const nameOf = (deployments: Deployments, detection: Detection): Result.Result<Name, DispatchError> => {
  const text = deployments(detection.name)
  if (text === undefined) return unfit(`there is no deployment for the event \`${detection.name}\``)
  const filled = text.fill({ event: detection.event, detection })
  if (Result.isFailure(filled)) return unfit(`there is no deployment for ${nothing(filled.failure, detection)}`)
  const name = parsed(filled.success)
  if (!filled.success.isWellFormed()) return unfit(`the deployment for the event \`${detection.name}\` is no Unicode`)
  return name === undefined
    ? unfit(`the deployment for the event \`${detection.name}\` is \`${filled.success}\`, not ${expected}`)
    : Result.succeed(name)
}

/** Trying again cannot help. */
const unfit = (reason: string): Result.Result<never, DispatchError> =>
  Result.fail(new DispatchError({ reason: `Prefect: ${reason}`, presence: "answered", retryable: false }))

const nothing = (path: string, { name }: Detection): string => `the event \`${name}\`: there is no ${path}`

// ---------------------------------------------------------------------------------------------------- flow run

const parametersOf = (parameters: Options["parameters"], compile: CompilePath): Compiled["parameters"] => {
  if (parameters === undefined) return () => undefined
  if (typeof parameters === "string") {
    const path = compile(parameters, ["parameters"])
    return (from) => valueAt(path!, exact(from)) ?? undefined
  }
  const paths = Object.entries(parameters).map(([name, text]) => [name, compile(text, ["parameters", name])] as const)
  return (from) => {
    const source = exact(from)
    return Object.fromEntries(
      paths.map(([name, path]) => [name, valueAt(path!, source)]).filter(([, value]) => value !== undefined)
    )
  }
}

/** With the numbers as they were written. */
const exact = (from: Path.From): Path.From => {
  const payload = ExactNumbers.reread(Envelope.text(from.event.envelope), from.event.payload)
  return payload === undefined ? from : { ...from, event: { ...from.event, payload } }
}

/** Bytes, which JSON has no form for, are taken as the JSON or the text they are. */
const valueAt = (path: Path.Path, from: Path.From): unknown => {
  const value = path.read(from)
  return value instanceof Uint8Array ? Path.parsed(value) : value
}

const keyOf = (text: string | undefined, compile: CompileText, path: CompilePath): Compiled["key"] => {
  if (text === undefined) return () => undefined
  if (text.includes("{{")) {
    const filled = compile(text, ["idempotencyKey"])
    return (from) => Result.getOrUndefined(filled!.fill(from))
  }
  const compiled = path(text, ["idempotencyKey"])
  return (from) => Path.asKey(compiled!.read(from))
}

const runOf = (
  { delay, jobVariables, workQueue }: Options,
  compiled: Compiled,
  detection: Detection
): Result.Result<Run, DispatchError> => {
  const { envelope } = detection.event
  const from = { event: detection.event, detection }
  const tags: Array<string> = []
  for (const tag of compiled.tags) {
    const filled = tag.fill(from)
    if (Result.isFailure(filled)) return unfit(`no tag ${tag.text} for ${nothing(filled.failure, detection)}`)
    tags.push(filled.success)
  }
  const name = compiled.name?.fill(from)
  if (name !== undefined && Result.isFailure(name)) return unfit(`no name for ${nothing(name.failure, detection)}`)
  const key = compiled.key(from) || `${envelope.source}/${envelope.id}`
  const parameters = compiled.parameters(from)
  const fixed = {
    parameters,
    name: name?.success,
    tags: tags.length === 0 ? undefined : tags,
    work_queue_name: workQueue,
    job_variables: jobVariables
  }
  const body = (deploymentId: string, nowMillis: number): string =>
    JSON.stringify({
      ...fixed,
      idempotency_key: bounded(`${key}/${detection.name}/${deploymentId}`),
      state: delay === undefined ? undefined : scheduled(nowMillis, delay)
    })
  const checked = Result.try(() => JSON.stringify(fixed))
  const why = Result.isFailure(checked) ? words(checked.failure) : unkept.test(checked.success) ? notKept : undefined
  return why === undefined
    ? Result.succeed({ parameters, body })
    : unfit(`the flow run of the event \`${detection.name}\` cannot be asked for: ${why}`)
}

/** As JSON writes them: NUL, and halves of surrogate pairs. Prefect takes them, and cannot show the run any more. */
const unkept = /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/i
const notKept = "there is a NUL or half a surrogate pair in its text, which Prefect cannot keep"

const bounded = (key: string): string =>
  key.length <= keyMax ? key : `sha256:${createHash("sha256").update(key).digest("hex")}`

const scheduled = (nowMillis: number, delay: Duration.Duration) => ({
  type: "SCHEDULED",
  state_details: { scheduled_time: DateTime.formatIso(DateTime.addDuration(DateTime.makeUnsafe(nowMillis), delay)) }
})
