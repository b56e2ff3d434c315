/** The command line: run, check, schema, graph, dlq, journal, explain, pipelines, tune, send, register, listen and key. */
import {
  Console,
  Effect,
  type FileSystem,
  Layer,
  Logger,
  Option,
  type Path,
  Schema,
  type Stdio,
  type Terminal
} from "effect"
import { Argument, CliError, Command, Flag } from "effect/cli"
import type { ChildProcessSpawner } from "effect/process"
import * as App from "./App.ts"
import * as CliDeadLetters from "./CliDeadLetters.ts"
import * as CliGateway from "./CliGateway.ts"
import * as CliJournal from "./CliJournal.ts"
import * as CliKeys from "./CliKeys.ts"
import * as CliListen from "./CliListen.ts"
import * as CliPipelines from "./CliPipelines.ts"
import * as Config from "./Config.ts"
import { ConfigError, type Unset } from "./ConfigFile.ts"
import { Environment } from "./Environment.ts"
import * as Explain from "./Explain.ts"
import * as Graph from "./Graph.ts"
import * as Observability from "./Observability.ts"
import { version } from "./Version.ts"
import * as Wiring from "./Wiring.ts"

/** Ends the process with a code, after everything has been said. */
export class Exit extends Schema.TaggedError<Exit>()("Exit", {
  /** 1 failed while running, 2 wrong config or usage, 3 `--strict` and something was buried. */
  code: Schema.Literals([1, 2, 3])
}) {}

const configArgument = Argument.String("config").pipe(
  Argument.withDescription("The config file, YAML or JSON"),
  Argument.optional
)
const fileFlag = Flag.String("file").pipe(
  Flag.withAlias("f"),
  Flag.withDescription("The config file, instead of the argument"),
  Flag.optional
)
const json = Flag.Boolean("json").pipe(Flag.withDescription("Print JSON"), Flag.withDefault(false))
const place = { config: configArgument, file: fileFlag }

interface Place {
  readonly config: Option.Option<string>
  readonly file: Option.Option<string>
}

const run = Command.make(
  "run",
  {
    ...place,
    strict: Flag.Boolean("strict").pipe(
      Flag.withDescription("Exit with 3 when something was buried"),
      Flag.withDefault(false)
    ),
    json: Flag.Boolean("json").pipe(Flag.withDescription("Log as JSON, also on a terminal"), Flag.withDefault(false))
  },
  Effect.fnUntraced(function* ({ json, strict, ...place }) {
    const loaded = yield* load(place)
    const logger = json ? Logger.layer([Observability.logger(false)]) : Layer.empty
    yield* Effect.gen(function* () {
      const supervisor = yield* App.start(loaded)
      const outcome = yield* supervisor.await.pipe(Effect.onInterrupt(() => supervisor.drain))
      if (outcome.failed.length > 0) return yield* new Exit({ code: 1 })
      const buried = supervisor.pipelines.reduce((sum, { stats }) => sum + stats.letters, 0)
      if (strict && buried > 0) return yield* new Exit({ code: 3 })
    }).pipe(Effect.scoped, Effect.provide(Layer.mergeAll(App.storage(loaded), App.http(loaded), logger)))
  })
).pipe(
  Command.withDescription("Run the pipelines of a config; the default command"),
  Command.withExamples([{ command: "sluice config/quickstart.yaml", description: "Run the quick start" }])
)

const check = Command.make(
  "check",
  { ...place, json },
  Effect.fnUntraced(function* ({ json, ...place }) {
    const checked = Effect.gen(function* () {
      const loaded = yield* load(place)
      const plans = yield* Effect.provide(Effect.scoped(Wiring.plans(loaded)), App.dry(loaded))
      const findings = Wiring.unusable(loaded, plans)
      if (findings.length > 0) return yield* new ConfigError({ findings })
      return { loaded, plans }
    })
    const { loaded, plans } = yield* Effect.tapError(checked, (error) =>
      json && error._tag === "ConfigError"
        ? Console.log(JSON.stringify({ ok: false, findings: error.findings }))
        : Effect.void
    )
    const names = plans.map(({ name }) => name)
    const { warnings } = loaded
    if (!json) for (const one of warnings) yield* Console.error(new ConfigError({ findings: [one] }).message)
    yield* Console.log(
      json
        ? JSON.stringify({ ok: true, pipelines: names, warnings })
        : `${loaded.file.file}: ok, ${names.length} ${names.length === 1 ? "pipeline" : "pipelines"}: ${names.join(", ")}`
    )
  })
).pipe(Command.withDescription("Say what is wrong with a config, without running it"))

const schema = Command.make(
  "schema",
  { json },
  Effect.fnUntraced(function* () {
    yield* Console.log(JSON.stringify(Config.jsonSchema(), null, 2))
  })
).pipe(Command.withDescription("Print the JSON Schema of the config, for editors"))

const graph = Command.make(
  "graph",
  { ...place, json },
  Effect.fnUntraced(function* ({ json, ...place }) {
    const { config, file } = yield* load(place)
    const drawn = Graph.mermaid(config, file.hide)
    yield* Console.log(json ? JSON.stringify({ mermaid: drawn }) : drawn.trimEnd())
  })
).pipe(Command.withDescription("Draw the pipelines of a config as a Mermaid flow chart"))

const ids = Argument.String("id").pipe(Argument.withDescription("A dead letter; none means all"), Argument.variadic())

const dlq = Command.make("dlq").pipe(
  Command.withDescription("List, show, replay and purge dead letters, of a stopped or a running process"),
  Command.withSubcommands([
    Command.make("ls", { ...place, json }, ({ json, ...place }) =>
      withStorage(place, (loaded) => CliDeadLetters.list(loaded, json))
    ).pipe(Command.withDescription("List the dead letters")),
    Command.make(
      "show",
      { config: Argument.String("config"), id: Argument.String("id"), json },
      ({ config, id, json }) => withStorage(named(config), () => CliDeadLetters.show(id, json))
    ).pipe(Command.withDescription("Show one dead letter whole")),
    Command.make("replay", { config: Argument.String("config"), ids, json }, ({ config, ids, json }) =>
      withStorage(named(config), (loaded) => CliDeadLetters.replay(loaded, ids, json))
    ).pipe(
      Command.withDescription("Run the buried legs again, in the running process or here, and wait for the outcome")
    ),
    Command.make("purge", { config: Argument.String("config"), ids, json }, ({ config, ids, json }) =>
      withStorage(named(config), (loaded) => CliDeadLetters.purge(loaded, ids, json))
    ).pipe(Command.withDescription("Take dead letters off the list for good"))
  ])
)

const journal = Command.make("journal", { ...place, ...CliJournal.flags, json }, ({ config, file, json, ...asked }) =>
  withJournal({ config, file }, (loaded) => CliJournal.list(loaded, asked, json))
).pipe(Command.withDescription("Show what became of each message, in pipelines with `journal: true`"))

const orExit = <E, R>(done: Effect.Effect<boolean, E, R>) =>
  Effect.flatMap(done, (isDone) => (isDone ? Effect.void : Effect.fail(new Exit({ code: 1 }))))

const explain = Command.make(
  "explain",
  {
    // The config may be left out, and then its place is the id's.
    first: Argument.String("config").pipe(
      Argument.withDescription("The config file; without it the store of this folder")
    ),
    second: Argument.String("id").pipe(Argument.withDescription("The message's id"), Argument.optional),
    json
  },
  Effect.fnUntraced(function* ({ first, json, second }) {
    const id = Option.getOrElse(second, () => first)
    const found = Option.isSome(second)
      ? yield* withJournal(named(first), ({ config }) => Explain.find(id, Object.keys(config.pipelines)))
      : yield* Effect.provide(Explain.find(id), App.journalHere)
    yield* orExit(Explain.print(id, found, json))
  })
).pipe(
  Command.withDescription(
    "Tell of one message what was found in it, or why not, what ran for it and what was published"
  ),
  Command.withExamples([{ command: "sluice explain hasura.yaml 85558393", description: "By its id" }])
)

const pipelines = Command.make("pipelines", { ...place, ...CliPipelines.listFlags, json }, ({ json, url, ...place }) =>
  Effect.flatMap(load(place), (loaded) => CliPipelines.list(loaded, url, json))
).pipe(Command.withDescription("Show the pipelines of a running process, with `http: { admin: true }`"))

const tune = Command.make("tune", { ...CliPipelines.tuneFlags, json }, ({ config, json, ...wanted }) =>
  Effect.flatMap(load(named(config)), (loaded) => CliPipelines.tune(loaded, wanted, json))
).pipe(
  Command.withDescription("Change how fast a pipeline of a running process goes, until that process ends"),
  Command.withExamples([
    { command: "sluice tune orders.yaml orders --rate 10/1s", description: "Let ten in per second" },
    { command: "sluice tune orders.yaml orders --pause", description: "Let nothing in" }
  ])
)

const send = Command.make("send", { ...CliGateway.sendFlags, json }, ({ json, ...asked }) =>
  orExit(CliGateway.send(asked, json))
).pipe(
  Command.withDescription("Send an event, or a file of them, to a running gateway"),
  Command.withExamples([
    { command: "sluice send SpongeBob/Fruits apple.json", description: "One event" },
    { command: "sluice send SpongeBob/Fruits fruits.ndjson", description: "Each line is an event" }
  ])
)

const register = Command.make("register", { ...CliGateway.registerFlags, json }, ({ json, ...asked }) =>
  orExit(CliGateway.register(asked, json))
).pipe(
  Command.withDescription("Register the schema of an event with a running gateway"),
  Command.withExamples([{ command: "sluice register SpongeBob/Fruits fruits.schema.json", description: "JSON Schema" }])
)

const listen = Command.make(
  "listen",
  { ...CliListen.flags, ...place },
  Effect.fnUntraced(function* ({ config, file, ...asked }) {
    const loaded = yield* load({ config, file })
    yield* Effect.scoped(CliListen.listen(loaded, asked))
  })
).pipe(
  Command.withDescription("Print the events of a topic as they come, one per line, beside a running gateway"),
  Command.withExamples([
    { command: "sluice listen SpongeBob.Fruits gateway.yaml --from earliest", description: "Also those before" }
  ])
)

const sluice = Command.make("sluice").pipe(
  Command.withDescription(
    "Takes messages from queues, streams, sockets and webhooks, detects events in them, and acts"
  ),
  Command.withSubcommands([
    run,
    check,
    schema,
    graph,
    dlq,
    journal,
    explain,
    pipelines,
    tune,
    send,
    register,
    listen,
    CliKeys.command
  ])
)

const commands = [
  ...["run", "check", "schema", "graph", "dlq", "journal", "explain", "pipelines", "tune"],
  ...["send", "register", "listen", "key"]
]

/** The exit code of an interrupted command: a run that is stopped is done, and what is sent only in part is not. */
export const interruptedCode = (args: ReadonlyArray<string>): 0 | 1 => (args.includes("send") ? 1 : 0)

/** Runs the arguments after the program's name. Fails: `Exit`, when everything has been said. */
export const main = (
  args: ReadonlyArray<string>
): Effect.Effect<
  void,
  Exit,
  | FileSystem.FileSystem
  | Path.Path
  | Terminal.Terminal
  | Stdio.Stdio
  | ChildProcessSpawner.ChildProcessSpawner
  | Environment
> =>
  Command.runWith(sluice, { version })(withRun(ordered(args))).pipe(
    Effect.catch((error) => {
      if (error instanceof Exit) return Effect.fail(error)
      if (CliError.isCliError(error)) return Effect.fail(new Exit({ code: 2 }))
      return Effect.andThen(
        Console.error(error.message),
        Effect.fail(new Exit({ code: error._tag === "ConfigError" || error._tag === "UsageError" ? 2 : 1 }))
      )
    })
  )

/** What follows these is no word of a command. */
const valued = [
  ...["-f", "--file"],
  ...[CliGateway, CliJournal, CliKeys, CliListen, CliPipelines].flatMap(({ valued }) => valued)
]
const subcommands: Readonly<Record<string, ReadonlyArray<string>>> = {
  dlq: ["ls", "show", "replay", "purge"],
  key: CliKeys.commands
}

/** Flags may stand anywhere: the words of the command go first, then the config where `-f` names it, then the rest. */
const ordered = (args: ReadonlyArray<string>): ReadonlyArray<string> => {
  const rest = [...args]
  const take = (known: ReadonlyArray<string>): ReadonlyArray<string> => {
    const at = rest.findIndex((arg, i) => known.includes(arg) && !valued.includes(rest[i - 1] ?? ""))
    return at === -1 ? [] : rest.splice(at, 1)
  }
  const command = take(commands)
  const words = [...command, ...take(subcommands[command[0] ?? ""] ?? [])]
  const flag = rest.findIndex((arg) => ["-f", "--file"].includes(arg))
  const file = flag === -1 || !["dlq", "tune"].includes(words[0] ?? "") ? [] : rest.splice(flag, 2).slice(1)
  return [...words, ...file, ...rest]
}

/** `sluice config.yaml` is `sluice run config.yaml`. */
const withRun = (args: ReadonlyArray<string>): ReadonlyArray<string> => {
  if (args.some((arg) => commands.includes(arg))) return args
  const asks =
    args.length === 0 ||
    args.some((arg) => ["--help", "-h", "--version", "-v", "--completions", "--wizard"].includes(arg))
  return asks ? (args.length === 0 ? ["--help"] : args) : ["run", ...args]
}

const named = (config: string): Place => ({ config: Option.some(config), file: Option.none() })

const load = Effect.fnUntraced(function* ({ config, file }: Place, whenUnset?: Unset) {
  const path = Option.getOrUndefined(Option.orElse(file, () => config))
  if (path === undefined) {
    yield* Console.error("expected a config file: sluice <config>, or sluice -f <config>")
    return yield* new Exit({ code: 2 })
  }
  return yield* Config.load(path, yield* Environment, whenUnset)
})

/** For who only reads the store: it needs no passwords, as long as it is known where the store is. */
const loadToRead = (place: Place) =>
  Effect.catchTag(load(place), "ConfigError", (error) =>
    load(place, "keep").pipe(
      Effect.catchTag("ConfigError", () => Effect.fail(error)),
      Effect.filterOrFail(
        ({ config }) => config.storage?.sqlite?.includes("${") !== true,
        () => error
      )
    )
  )

const withStorage = <A, E, R>(place: Place, f: (loaded: Config.Loaded) => Effect.Effect<A, E, R>) =>
  Effect.flatMap(load(place), storing(f))

const withJournal = <A, E, R>(place: Place, f: (loaded: Config.Loaded) => Effect.Effect<A, E, R>) =>
  Effect.flatMap(loadToRead(place), storing(f))

const storing =
  <A, E, R>(f: (loaded: Config.Loaded) => Effect.Effect<A, E, R>) =>
  (loaded: Config.Loaded) =>
    Effect.provide(f(loaded), Layer.merge(App.storage(loaded), App.dry(loaded)))
