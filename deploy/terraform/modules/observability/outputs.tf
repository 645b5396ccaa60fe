output "alarms" {
  description = "Names of the alarms that wake somebody: those that turn a deployment back, as well."
  value       = [for name, alarm in local.alarms : aws_cloudwatch_metric_alarm.single[name].alarm_name if alarm.severity == "page"]
}
