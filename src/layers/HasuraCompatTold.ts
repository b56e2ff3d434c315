/** What the predecessor prints of each database event: which events it shows, and at the end how their jobs ended. */
import type { Event } from "../services/Event.ts"
import type { Handled, Verdicts } from "./EventModulesRun.ts"
import { log } from "./HasuraCompatHelpers.ts"
import * as Summary from "./HasuraCompatSummary.ts"

/** Handlers of one event that have not ended, and those that have. */
interface Open {
  readonly found: ReadonlyArray<string>
  readonly ended: Map<string, Summary.Detected>
}

export class Told {
  private readonly open = new WeakMap<Event, Open>()

  detected(event: Event, { asked, broke, found }: Verdicts): void {
    const yes = new Set(found)
    for (const name of asked) {
      const words = broke.get(name)
      if (words !== undefined) log(name, "Error detecting event", words)
      else log(name, yes.has(name) ? "Event detected" : "No event detected")
    }
    if (found.length === 0) console.log(Summary.summary([]))
    else this.open.set(event, { found, ended: new Map() })
  }

  handled(event: Event, { crashed, jobs, name }: Handled): void {
    if (crashed !== undefined) log(name, `Handler crashed: ${crashed}`)
    const open = this.open.get(event)
    if (open === undefined) return
    open.ended.set(name, { name, jobs })
    if (open.ended.size < open.found.length) return
    this.open.delete(event)
    console.log(
      Summary.summary(
        open.found.map((name) => open.ended.get(name)!),
        { durations: true }
      )
    )
  }
}
