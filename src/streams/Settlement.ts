/** Ends deliveries: the one place that settles. */
import { Effect } from "effect"
import type { Delivery, Settlement } from "../services/Delivery.ts"
import type { Ready } from "../services/Ready.ts"

/** Hands the outcome to the source; what comes back is done once the source has noted it. */
export const settle = (delivery: Delivery, settlement: Settlement): Ready<void> => {
  try {
    return delivery.settle(settlement)
  } catch (thrown) {
    return Effect.die(thrown)
  }
}
