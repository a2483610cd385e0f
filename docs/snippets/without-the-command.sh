stack_output() {
  aws cloudformation describe-stacks --stack-name retake --output text \
    --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue"
}
input=$(stack_output InputBucketName)
output=$(stack_output OutputBucketName)
echo '{ "prompt": "an ink drawing that breathes", "mode": "reimagine_2" }' >clip.json
aws s3 cp clip.json "s3://$input/shoot/clip.json"
aws s3 cp clip.mp4 "s3://$input/shoot/clip.mp4"
# Checks every 5 seconds for 100 seconds; run it again if that is too short.
aws s3api wait object-exists --bucket "$output" --key shoot/clip.mp4
aws s3 cp "s3://$output/shoot/clip.mp4" retake.mp4
aws s3 cp "s3://$output/shoot/clip.mp4.job.json" -
