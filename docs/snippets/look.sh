resource() {
  aws cloudformation describe-stack-resource --stack-name retake --logical-resource-id "$1" \
    --query StackResourceDetail.PhysicalResourceId --output text
}
# Checks everything, with a fix for each problem.
retake doctor || true
# Lists jobs that ended without a result.
retake ls --state FAILED --state REFUSED --state LOST
# Shows why submit could not process a message.
aws logs filter-log-events --log-group-name "$(resource SubmitLog)" \
  --filter-pattern ERROR --query 'events[].message'
# Lists failed wait loop executions.
aws stepfunctions list-executions --state-machine-arn "$(resource WaitLoop)" \
  --status-filter FAILED --query 'executions[].name'
# Lists alarms that are in ALARM state.
aws cloudwatch describe-alarms --alarm-name-prefix retake- --state-value ALARM \
  --query 'MetricAlarms[].[AlarmName,AlarmDescription]'
