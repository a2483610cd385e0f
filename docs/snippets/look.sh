resource() { aws cloudformation describe-stack-resource --stack-name retake --logical-resource-id "$1" --query StackResourceDetail.PhysicalResourceId --output text; }
retake doctor || true                                  # everything at once, each with its cure
retake ls --state FAILED --state REFUSED --state LOST  # what came to nothing
aws logs filter-log-events --log-group-name "$(resource SubmitLog)" --filter-pattern '"not taken"' --query 'events[].message'
aws stepfunctions list-executions --state-machine-arn "$(resource WaitLoop)" --status-filter FAILED --query 'executions[].name'
aws cloudwatch describe-alarms --alarm-name-prefix retake- --state-value ALARM --query 'MetricAlarms[].[AlarmName,AlarmDescription]'
