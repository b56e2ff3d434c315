import { defineConfig } from "vitest/config"

export default defineConfig({
  resolve: {
    alias: {
      "sluice/testing": new URL("./src/layers/Testing.ts", import.meta.url).pathname,
      sluice: new URL("./src/layers/Sluice.ts", import.meta.url).pathname
    }
  },
  // Much of the integration tests is waiting for brokers and processes.
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 90_000,
    hookTimeout: 90_000,
    maxWorkers: 2,
    // Event modules are imported by Node itself, as in production.
    server: { deps: { external: [/EventModulesImport\.ts$/] } }
  }
})
