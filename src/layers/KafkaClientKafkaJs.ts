/** Kafka by kafkajs. */
import { Layer } from "effect"
import { KafkaClient } from "../services/Kafka.ts"
import * as KafkaJsCodecs from "./KafkaJsCodecs.ts"
import * as KafkaJsMember from "./KafkaJsMember.ts"
import * as KafkaJsProducer from "./KafkaJsProducer.ts"
import * as KafkaJsReader from "./KafkaJsReader.ts"

export const layer: Layer.Layer<KafkaClient> = Layer.sync(KafkaClient, () => {
  KafkaJsCodecs.register()
  return {
    member: KafkaJsMember.make,
    producer: KafkaJsProducer.make,
    transactions: KafkaJsProducer.makeTransactions,
    reader: KafkaJsReader.make,
    readAll: KafkaJsReader.readAll
  }
})
