const { log, columnHasChanged, parseHasuraEvent } = require('sluice/hasura');
const { publishEventLog, jobSimulator, rerunAR } = require('../jobs');
const { run, job } = require('sluice/hasura');

module.exports.detector = async (event, hasuraEvent) => {
  const { dbEvent, operation } = parseHasuraEvent(hasuraEvent);

  switch (operation) {
    case 'INSERT':
      return false;
    case 'UPDATE':
      const statusChanged = columnHasChanged('status', dbEvent);
      const isThisEvent = dbEvent?.new?.status === 'pickup successful';
      return statusChanged && isThisEvent;
    case 'DELETE':
      return false;
    case 'MANUAL':
      return false;
    default:
      return false;
  }
};

module.exports.handler = async (event, hasuraEvent) => {
  const { user, dbEvent } = parseHasuraEvent(hasuraEvent);

  let jobs = [];

  jobs.push(job(jobSimulator, { delay: 3000, message: 'Job 1' }));
  jobs.push(job(jobSimulator, { delay: 2000, message: 'Job 2' }));
  jobs.push(job(jobSimulator, { delay: 1000, message: 'Job 3' }));
  jobs.push(job(publishEventLog, { user }));
  jobs.push(job(rerunAR, { moveId: dbEvent?.new?.id }));

  return await run(event, hasuraEvent, jobs);
};
