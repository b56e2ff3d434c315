const { columnHasChanged, parseHasuraEvent } = require('sluice/hasura');
const { jobSimulator } = require('../jobs');
const { run, job } = require('sluice/hasura');

module.exports.detector = async (event, hasuraEvent) => {
  const { dbEvent, operation } = parseHasuraEvent(hasuraEvent);

  return operation === 'UPDATE' && columnHasChanged('cancel_status', dbEvent) && dbEvent.new.cancel_status === 'pending';
};

module.exports.handler = async (event, hasuraEvent) =>
  await run(event, hasuraEvent, [
    job(jobSimulator, { delay: 3000, message: 'Job 1' }),
    job(jobSimulator, { delay: 2000, message: 'Job 2' }),
  ]);
