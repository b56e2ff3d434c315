/** The test kit: sources, publishers, topics, dead letters and schemas in memory, for pipelines under the test clock. */

export * as SourceMemory from "../streams/SourceMemory.ts"
export * as AzureQueueClientMemory from "./AzureQueueClientMemory.ts"
export * as DeadLettersMemory from "./DeadLettersMemory.ts"
export * as DedupeMemory from "./DedupeMemory.ts"
export * as JournalMemory from "./JournalMemory.ts"
export * as KafkaClientMemory from "./KafkaClientMemory.ts"
export * as PublisherMemory from "./PublisherMemory.ts"
export * as SchemaRegistryMemory from "./SchemaRegistryMemory.ts"
export * as TopicsMemory from "./TopicsMemory.ts"
export * as ZeroMqMemory from "./ZeroMqMemory.ts"
