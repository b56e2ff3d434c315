/** Reloads event modules when their files change, for development; a broken new copy leaves the old one in place. */
import { type FSWatcher, statSync, watch } from "node:fs"
import * as EventModules from "./EventModules.ts"
import * as Calls from "./EventModulesCalls.ts"
import { TimeLimit } from "./EventModulesLimit.ts"

/** Takes what is there now. */
export type Replace = (
  modules: ReadonlyArray<EventModules.EventModule>,
  problems: ReadonlyArray<EventModules.ModuleProblem>
) => void

export interface Options {
  readonly directory: string
  readonly first: EventModules.Loaded
  readonly replace: Replace
  /** One sentence for each module that came, changed, went, or is broken now. */
  readonly say: (words: string, isBroken: boolean) => void
  readonly importMillis?: number | undefined
}

/** Units: milliseconds without a further change before files are read: editors write a file in several steps. */
const quietMillis = 100

/** Units: milliseconds between two looks for a directory that is gone. */
const goneMillis = 1_000

/** Counts copies for the whole process, as the same file must never get a URL twice. */
let copies = 0

export class Watch {
  private readonly options: Options
  private watcher: FSWatcher | undefined
  /** The directory that is watched: another one may take its place. */
  private watched = ""
  private readonly stamps = new Map<string, string>()
  private modules: Map<string, EventModules.EventModule>
  private problems: ReadonlyArray<EventModules.ModuleProblem>
  private timer: NodeJS.Timeout | undefined
  private reading: Promise<void> = Promise.resolve()
  private closed = false
  private isGone = false

  /** Throws what the file system throws where the directory cannot be watched. */
  constructor(options: Options) {
    this.options = options
    this.modules = new Map(options.first.modules.map((module) => [module.file, module]))
    this.problems = options.first.problems
    for (const { file } of [...options.first.modules, ...options.first.problems]) this.stamps.set(file, stampOf(file))
    this.watch()
  }

  private watch(): void {
    const { directory } = this.options
    this.watcher?.close()
    this.watcher = undefined
    this.watched = inodeOf(directory)
    this.watcher = watch(directory, { persistent: false }, () => this.changed())
    this.watcher.on("error", () => this.changed())
  }

  close(): void {
    this.closed = true
    clearTimeout(this.timer)
    this.watcher?.close()
  }

  private changed(millis: number = quietMillis): void {
    if (this.closed) return
    clearTimeout(this.timer)
    this.timer = setTimeout(() => {
      this.reading = this.reading.then(() => this.read())
    }, millis)
    this.timer.unref()
  }

  private async read(): Promise<void> {
    const { directory, importMillis, replace, say } = this.options
    try {
      if (this.watcher === undefined || this.watched !== inodeOf(directory)) this.watch()
      const { found, problems } = EventModules.find(directory)
      const limit = new TimeLimit(importMillis ?? EventModules.importMillis)
      const modules = new Map<string, EventModules.EventModule>()
      const broken = [...problems]
      for (const one of found) {
        const { kept, problem } = await this.look(one, limit)
        if (kept !== undefined) modules.set(kept.file, kept)
        if (problem !== undefined) broken.push(problem)
      }
      if (this.closed) return
      for (const [file, { event }] of this.modules) {
        if (!modules.has(file)) say(`${event}: its module is gone`, false)
      }
      // One that comes back as it was is new.
      for (const file of this.stamps.keys()) if (!found.some((one) => one.file === file)) this.stamps.delete(file)
      this.modules = modules
      this.problems = broken
      this.isGone = false
      replace([...modules.values()], broken)
    } catch (error) {
      if (!this.isGone) say(`${directory} cannot be read, its modules stay as they are: ${Calls.words(error)}`, true)
      this.isGone = true
      this.changed(goneMillis)
    }
  }

  private async look(one: EventModules.Found, limit: TimeLimit): Promise<Look> {
    const { say } = this.options
    const before = this.modules.get(one.file)
    const stamp = stampOf(one.file)
    if (this.stamps.get(one.file) === stamp) {
      return { kept: before, problem: this.problems.find(({ file }) => file === one.file) }
    }
    this.stamps.set(one.file, stamp)
    const loaded = await EventModules.loadOne(one, ++copies, limit)
    if (this.closed) return { kept: before, problem: undefined }
    if ("reason" in loaded) {
      say(`${loaded.file} ${loaded.reason}${before === undefined ? "" : "; the copy before stays in use"}`, true)
      return { kept: before, problem: loaded }
    }
    say(`${one.event}: its module was ${before === undefined ? "loaded" : "reloaded"}`, false)
    return { kept: loaded, problem: undefined }
  }
}

interface Look {
  readonly kept: EventModules.EventModule | undefined
  readonly problem: EventModules.ModuleProblem | undefined
}

const inodeOf = (directory: string): string => {
  const { dev, ino } = statSync(directory, { bigint: true })
  return `${dev} ${ino}`
}

/** What changes with every change of a file. */
const stampOf = (file: string): string => {
  try {
    const { ino, mtimeNs, size } = statSync(file, { bigint: true })
    return [ino, mtimeNs, size].join(" ")
  } catch {
    return ""
  }
}
