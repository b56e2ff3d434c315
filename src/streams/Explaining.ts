/** What the rules and modules of a pipeline said of an event. */
import type { Explanation } from "../services/Detector.ts"
import type { Event } from "../services/Event.ts"
import type { Plan } from "./Plan.ts"

/** In the order of the config; detectors that cannot tell are left out. */
export const explain = ({ detectors }: Plan, event: Event): ReadonlyArray<Explanation> =>
  detectors.flatMap((detector) => {
    try {
      return detector.explain?.(event) ?? []
    } catch {
      // It has said what it had to when it detected.
      return []
    }
  })
