// The last step of the job: actions end in the reverse order of their beginning.
'use strict';
const martlet = require('./martlet.js');
const { end, find, judge, hasBegun } = require('./end.js');

martlet.main(() => {
  // Otherwise it was not we who started an agent.
  if (process.env.STATE_started !== 'true') return;
  // The step `finish` may have ended it. What root's directory has counts, not what steps could change since.
  judge(hasBegun() ? end() : find().report);
});
